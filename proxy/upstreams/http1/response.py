"""A response whose head is complete: the buffer between the connection and the reader of the body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from proxy.exceptions import UpstreamCut
from proxy.upstreams.encoding import too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.exceptions import UpstreamError
    from proxy.server.asgi import Push, Wait

#: Bytes in the buffer from which on the connection pauses reading until the reader has taken them.
HIGH_WATER: Final = 65_536


class BodySource(Protocol):
    """The part of a connection that a response calls."""

    loop: asyncio.AbstractEventLoop

    def resume_reading(self) -> None:
        """Receive again after a pause."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...


class Http1Response:
    """A ``Response`` over HTTP/1.1; its connection calls ``feed``, ``wake``, ``finish`` and ``fail``."""

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
        self, connection: BodySource, status: int, headers: list[tuple[bytes, bytes]], length: int | None
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
        #: Receives data directly while ``pour`` waits for it.
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
            self._error = UpstreamCut("the response was closed before its body was read")
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
                waiter.exception()  # mark the sink's exception as retrieved: the task is cancelled
            self.close()
            raise
        finally:
            self._waiter = None  # its result may refer back to this response: avoid a reference cycle

    @property
    def overfull(self) -> bool:
        """Whether the buffer is full; a reader of the whole body is bounded by its own limit instead."""
        return self._size >= HIGH_WATER and self._limit is None

    def feed(self, data: bytes) -> None:
        """Buffer a piece of the body; ``wake`` is called once for all pieces of a TCP segment."""
        self._pieces.append(data)
        self._size += len(data)

    def wake(self) -> None:
        """Wake the reader, unless it waits for the whole body and that is incomplete."""
        if self._sink is not None and self._pieces:
            self._give(self._sink)
        elif self._limit is None or self._complete or self._error is not None or self._size > self._limit:
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _give(self, sink: Push) -> None:
        """Pass buffered data to the sink; wake its task only where the sink asks to wait, or at the end."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return  # the task is about to wake and takes the data then
        try:
            wait = sink(self._take())
        except Exception as exc:  # noqa: BLE001 - raised in the task that called pour
            waiter.set_exception(exc)
        else:
            if wait is not None or self._complete or self._error is not None:
                waiter.set_result(wait)

    def finish(self) -> None:
        """Mark the body as complete and wake the reader."""
        self._complete = True
        self.wake()

    def fail(self, error: UpstreamError) -> None:
        """Mark the body as failed; a reader of chunks receives the buffered data before the error."""
        if self._error is None:
            self._error = error
            self.wake()
