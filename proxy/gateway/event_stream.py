"""A streamed response of server-sent events, with keep-alive comments while its answer is held."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

from proxy.server.asgi import pusher

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.server.asgi import Headers, Push, Send, Wait

#: A comment line of server-sent events, which keeps a stream's connection open while nothing else is sent.
KEEPALIVE = b": keep-alive\n\n"


class EventStream:
    """A streamed response that begins with its first bytes, or with a keep-alive comment if they take long.

    ``headers`` is called at that moment, so that the headers can contain what is known by then.
    """

    def __init__(
        self, send: Send, headers: Callable[[], Headers], keepalive_s: float, push: Push | None = None
    ) -> None:
        self._send = send
        self._push = pusher({}, send) if push is None else push
        self._headers = headers
        self._keepalive_s = keepalive_s
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        #: Only one write runs at a time, since the server suspends a write while the client reads slowly. No
        #: keep-alive begins during another write, and other writes wait for a keep-alive that has begun.
        self._keepalive: asyncio.Task[None] | None = None
        self._writing = False
        self.started = False

    def __enter__(self) -> Self:
        self._schedule(self._keepalive_s)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._keepalive is not None:
            self._keepalive.cancel()

    def _schedule(self, wait_s: float) -> None:
        self._timer = self._loop.call_later(wait_s, self._idle)

    def _idle(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet < self._keepalive_s:
            self._schedule(self._keepalive_s - quiet)
            return
        if not self._writing and (self._keepalive is None or self._keepalive.done()):
            self._keepalive = self._loop.create_task(self._write(KEEPALIVE))
        self._schedule(self._keepalive_s)

    def push(self, data: bytes) -> Wait | None:
        """Send a part of the stream at once, or return what sends it."""
        if self._writing or self._keepalive is not None or not self.started:
            return partial(self.write, data)
        self._last = self._loop.time()
        wait = self._push(data)
        return None if wait is None else partial(self._waiting, wait)

    async def _waiting(self, wait: Wait) -> None:
        self._writing = True
        await wait()
        self._writing = False

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the stream; ``more=False`` ends it."""
        self._writing = True
        if self._keepalive is not None:
            await self._keepalive
            self._keepalive = None
        await self._write(data, more=more)
        self._writing = False

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        self._last = self._loop.time()
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": [*self._headers()]})
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def end(self, data: bytes) -> None:
        """Send the last part of the stream."""
        await self.write(data, more=False)
