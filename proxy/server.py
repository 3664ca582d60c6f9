"""The HTTP server: uvicorn, with the settings that a proxy wants."""

from __future__ import annotations

import gc
import math
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy import asgi
from proxy.logs import log_config

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.config import Server

#: Between two looks for garbage: what dies together with a request is seldom looked at, and memory stays small.
_NEW_CONTAINERS = 2_000
#: A worker that has not answered for so long is replaced. A starting one answers when it has imported what it runs,
#: which takes many seconds where all of a busy host's workers start at once; a dead one is seen without asking.
_HUNG_S = 15
_INTERIM = b"HTTP/1.1 100 "
#: A longer piece is not copied behind its head.
_MOST_JOINED = 262_144


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol with shortcuts for what costs as much as the rest of a short request or piece.

    A response's head waits for the first of its body, as ASGI has it, and both go out in one system call. A body's
    further pieces can be pushed (``asgi.PUSH``) from where they came in, without a task that sends them, and a
    client is seen to leave (``asgi.LEAVING``) without one that listens. One timer a connection, not one a request,
    looks whether it has been idle for too long.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self.transport = _HeadHolding(transport)  # type: ignore[assignment] # all that uvicorn uses
        self._leaving: dict[ref[RequestResponseCycle], Callable[[], None]] = {}
        self._idle_since = math.inf
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for leave in list(self._leaving.values()):
            leave()
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle.scope.pop(
                "extensions", None
            )  # they hold this protocol, and nobody asks for them any more

    def data_received(self, data: bytes) -> None:
        self._idle_since = math.inf
        super().data_received(data)

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            # Weakly: what the scope holds must not hold the request that holds the scope.
            request = ref(self.cycle)
            extensions = {asgi.PUSH: _Push(request), asgi.LEAVING: partial(self._tell, request)}
            self.cycle.scope["extensions"] = extensions  # type: ignore[typeddict-item] # not of ASGI's own

    def _tell(self, request: ref[RequestResponseCycle], leave: Callable[[], None] | None) -> None:
        cycle = request()
        if leave is None:
            self._leaving.pop(request, None)
        elif cycle is not None:  # it lives as long as its application runs
            self._leaving[request] = leave
            if cycle.disconnected:
                leave()

    def on_response_complete(self) -> None:
        self.transport.complete()  # type: ignore[attr-defined] # a _HeadHolding
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_idle)

    def _look_idle(self) -> None:
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self._idle_timer = None
            self.timeout_keep_alive_handler()
        else:
            self._idle_timer = self.loop.call_later(min(left, self.timeout_keep_alive), self._look_idle)


class _HeadHolding:
    """A transport that holds a response's first bytes until the next."""

    __slots__ = ("_begins", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begins = True
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= _MOST_JOINED:
                data = head + data
            else:
                self._transport.write(head)
            self._transport.write(data)
        elif self._begins and not data.startswith(_INTERIM):
            self._begins = False
            self._head = data
        else:
            self._transport.write(data)

    def complete(self) -> None:
        """The response has ended; the next one begins."""
        self._begins = True
        if self._head:
            head, self._head = self._head, b""
            if not self._transport.is_closing():
                self._transport.write(head)

    def close(self) -> None:
        self.complete()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Push:
    """See ``asgi.Push``."""

    __slots__ = ("_request",)

    def __init__(self, request: ref[RequestResponseCycle]) -> None:
        self._request = request

    def __call__(self, data: bytes) -> asgi.Wait | None:
        cycle = self._request()
        if cycle is None:  # the response is over
            return None
        if cycle.flow.write_paused or not cycle.chunked_encoding:
            return partial(cycle.send, {"type": "http.response.body", "body": data, "more_body": True})
        if data and not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return None


def settle_memory() -> None:
    """What stands now stands for good: the garbage collector neither looks at it again nor comes so often.

    By default it comes with every 700 new containers, which is with every fourth answer, and an answer leaves no
    cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS, *gc.get_threshold()[1:])


def config_of(app: object, settings: Server, **more: Any) -> uvicorn.Config:
    """Uvicorn's configuration for an application, or with ``factory=True`` for what makes one."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type] # an ASGI application
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=log_config(settings.log),
        access_log=False,  # the metrics count; a line for each request costs as much as the request
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.drain_s),
        timeout_worker_healthcheck=_HUNG_S,
        http=Protocol,
        ws="none",
        **more,
    )


def server_of(app: object, settings: Server) -> uvicorn.Server:
    """One server in this process."""
    return uvicorn.Server(config_of(app, settings))
