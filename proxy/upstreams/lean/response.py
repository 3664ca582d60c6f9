"""An answer whose head has come: the buffer between the connection and the reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.exceptions import UpstreamCut
from proxy.upstreams.encoding import too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.exceptions import UpstreamError
    from proxy.server.asgi import Push, Wait
    from proxy.upstreams.lean.connection import Connection

#: A reader this far behind makes the connection stop reading, until the reader has taken what is there.
HIGH_WATER: Final = 65_536


class LeanResponse:
    """See ``Response``. The methods without a docstring there are for the connection alone."""

    __slots__ = (
        "_complete",
        "_connection",
        "_error",
        "_limit",
        "_pieces",
        "_sink",
        "_size",
        "_waiter",
        "headers",
        "length",
        "status",
    )

    def __init__(
        self, connection: Connection, status: int, headers: list[tuple[bytes, bytes]], length: int | None
    ) -> None:
        self.status = status
        self.headers = headers
        self.length = length
        self._connection = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit: int | None = None
        self._complete = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[Wait | None] | None = None
        #: Takes what comes while its ``pour`` has nothing to wait for but that.
        self._sink: Push | None = None

    async def read(self, limit: int) -> bytes:
        if self.length is not None and self.length > limit:
            self.close()
            raise too_large(limit)
        self._limit = limit
        while not self._complete and self._size <= limit:
            await self._more()
        if self._size > limit:
            self.close()
            raise too_large(limit)
        return self._take()

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                yield self._take()
            elif self._complete:
                return
            else:
                await self._more()

    async def pour(self, sink: Push) -> None:
        while True:
            wait: Wait | None = None
            if self._pieces:
                wait = sink(self._take())
            elif self._complete:
                return
            else:
                self._sink = sink
                try:
                    wait = await self._more()
                finally:
                    self._sink = None
            if wait is not None:
                await wait()

    def close(self) -> None:
        if not self._complete and self._error is None:
            self._error = UpstreamCut("the answer was closed before it had been read")
            self._connection.abort()

    def _take(self) -> bytes:
        pieces = self._pieces
        self._pieces = []
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _more(self) -> Wait | None:
        if self._error is not None:
            raise self._error
        self._connection.resume_reading()
        waiter: asyncio.Future[Wait | None] = self._connection.loop.create_future()
        self._waiter = waiter
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # the sink's, which nobody raises any more
            self.close()
            raise
        finally:
            self._waiter = None  # its result may hold what holds this response: a cycle

    @property
    def overfull(self) -> bool:
        """Whether the reader is too far behind; one that reads the whole waits for it, up to its limit."""
        return self._size >= HIGH_WATER and self._limit is None

    def feed(self, data: bytes) -> None:
        """Take a piece of the body; the reader is woken afterwards, once for all the pieces of a segment."""
        self._pieces.append(data)
        self._size += len(data)

    def wake(self) -> None:
        """Let the reader look again, unless it waits for the whole and that has not come."""
        if self._sink is not None and self._pieces:
            self._give(self._sink)
        elif self._limit is None or self._complete or self._error is not None or self._size > self._limit:
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _give(self, sink: Push) -> None:
        """Let the sink take what has come; its task wakes only where there is something to wait for."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return  # it is about to wake, and takes it then
        try:
            wait = sink(self._take())
        except Exception as exc:  # noqa: BLE001 - not ours: the task that pours raises it
            waiter.set_exception(exc)
        else:
            if wait is not None or self._complete or self._error is not None:
                waiter.set_result(wait)

    def finish(self) -> None:
        """The body has come to its end."""
        self._complete = True
        self.wake()

    def fail(self, error: UpstreamError) -> None:
        """No more will come; what has come is given to a reader of chunks before the error."""
        if self._error is None:
            self._error = error
            self.wake()
