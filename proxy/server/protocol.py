"""The HTTP server: uvicorn, with the settings that a proxy wants."""

from __future__ import annotations

import gc
import math
import socket
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proxy.server import asgi
from proxy.server.errors import error_body
from proxy.server.inbound_limits import Bounds, Incoming, Refused, late, malformed
from proxy.server.logs import log_config

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    Announce = Callable[[str], None]

    from proxy.config import Server

#: New containers between two garbage collections: objects that end with a request are seldom examined.
_NEW_CONTAINERS = 2_000
#: A worker that does not answer for this long is replaced. A starting worker answers after its imports, which take
#: many seconds if all workers of a busy host start at once. A dead worker is noticed without a health check.
_HUNG_S = 15
#: How long a connection may be idle: longer than load balancers keep one (nginx and the clouds: a minute), else some
#: of their requests would arrive while the connection closes, and be lost.
_IDLE_S = 75
_INTERIM = b"HTTP/1.1 100 "
#: A longer first piece is written after the response's head instead of being copied behind it.
_MOST_JOINED = 262_144
#: How long the connection of a refused request stays open, so that the client can read the error.
_LINGER_S = 2.0
_REFUSAL = b"%bx-request-id: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
#: Headers with which a request offers another protocol (RFC 9110 section 7.8; RFC 7540 section 3.2.1).
_OFFERS = frozenset((b"connection", b"upgrade", b"http2-settings"))


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol with inbound limits, and shortcuts where uvicorn costs as much as a short request.

    A response's head waits for the first piece of the body, and both are sent in one system call. Further pieces can
    be pushed (``asgi.PUSH``) without a task, and a client's disconnect is reported (``asgi.LEAVING``) without a task
    that listens. Each connection has one timer, which closes it if the client is silent for too long: while idle, in
    the middle of a request, or without reading its response.
    """

    def __init__(self, *args: Any, bounds: Bounds, **more: Any) -> None:
        super().__init__(*args, **more)
        self._incoming = Incoming(bounds)
        self._receive_s = bounds.receive_s
        self._look_s = min(bounds.receive_s, self.timeout_keep_alive)
        self._deadline = math.inf
        #: Whether received data is dropped because the connection is closing.
        self._deaf = False
        self._refused: Refused | None = None
        #: The head of a request whose ``upgrade`` is declined.
        self._declined: bytes | None = None
        #: Bytes that wait for a client that does not read, and since when.
        self._unread = (0, math.inf)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self.transport = _HeadHolding(transport)  # type: ignore[assignment] # it has all that uvicorn uses
        # The request's scope must not refer to the protocol, which refers to the request: a reference cycle.
        self._weakly = ref(self)
        self.leaving: dict[ref[RequestResponseCycle], Callable[[], None]] = {}
        self._deadline = self.loop.time() + self._receive_s
        self._timer = self.loop.call_later(self._look_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._timer.cancel()
        for leave in list(self.leaving.values()):
            leave()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._deadline = math.inf
        try:
            self._feed(data)
            if self._incoming.coming:
                self._deadline = self._incoming.more(len(data), len(self.headers), self.loop.time())
        except httptools.HttpParserError:
            self._refuse(self._refused or malformed())
        except Refused as exc:
            self._refuse(exc)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # The upgrade is declined. The parser cannot do that: it would read the rest as another protocol. Some
            # clients (Java's) offer HTTP/2 with every request and then send an ordinary body.
            head, self._declined = self._declined or b"", None
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self.parser.feed_data(head + data[exc.args[0] :])

    def on_message_begin(self) -> None:
        self._incoming.begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        try:
            self._incoming.check(self.url, self.headers)
            if self.parser.should_upgrade():
                self._declined = self._without_upgrade()
                return
        except Refused as exc:
            self._refused = exc
            raise
        before = self.cycle
        super().on_headers_complete()
        self._incoming.begin_body()
        self.headers = []  # trailers do not belong to the headers of the current request
        if self.cycle is not before:
            request = ref(self.cycle)
            extensions = {asgi.PUSH: _Push(request), asgi.LEAVING: partial(_tell, self._weakly, request)}
            self.cycle.scope["extensions"] = extensions  # type: ignore[typeddict-item] # not one of ASGI's extensions

    def _without_upgrade(self) -> bytes:
        """Return the request's head without the offered protocol; raises Refused."""
        method = self.parser.get_method()
        if method == b"CONNECT" or self._under_way:
            raise malformed()
        tokens = b",".join(value for name, value in self.headers if name == b"connection").lower().split(b",")
        lines = [b"%b %b HTTP/1.1" % (method, self.url)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] not in _OFFERS]
        if b"close" in {token.strip() for token in tokens}:
            lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", b""])

    def on_body(self, body: bytes) -> None:
        self._incoming.body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._declined is not None:
            return
        self._incoming.end()
        if self.cycle.response_complete:
            self._deadline = self.loop.time() + self.timeout_keep_alive
        super().on_message_complete()

    @property
    def _under_way(self) -> bool:
        """Whether a request is being answered before the one that comes in."""
        return self.cycle is not None and not self.cycle.response_complete and not self._incoming.in_body

    def _refuse(self, refused: Refused) -> None:
        """Answer what came with an error, and end the connection once its client has had time to read it."""
        self._deaf = True
        if self._under_way:
            self.cycle.keep_alive = False  # its answer is the last
            return
        if self._incoming.in_body and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            begun = self.cycle.response_started
        else:
            begun = self._incoming.in_body
        if begun:
            self.transport.close()
            return
        body = error_body(refused)
        self.transport.write(
            _REFUSAL % (STATUS_LINE[refused.http_status], asgi.request_id(), len(body), body)
        )
        self.transport.complete()  # type: ignore[attr-defined] # a _HeadHolding
        # Closed with bytes unread, the connection would be reset, and the answer lost on its way.
        self.transport.write_eof()
        self._deadline = self.loop.time() + _LINGER_S

    def on_response_complete(self) -> None:
        self.transport.complete()  # type: ignore[attr-defined] # a _HeadHolding
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        now = self.loop.time()
        if self._incoming.coming:
            self._deadline = self._incoming.unwanted(now)
        else:
            self._deadline = now + self.timeout_keep_alive

    def _look(self) -> None:
        now = self.loop.time()
        if self._incoming.coming and self.flow.read_paused:
            self._deadline = self._incoming.excuse(now)
        if self._reads_nothing(now):
            self.transport.abort()
            return
        if self._deadline <= now:
            if self._deaf or not self._incoming.coming:
                self.timeout_keep_alive_handler()
                return
            self._refuse(late())
        wait_s = min(max(self._deadline - now, 0.0), self._look_s)
        self._timer = self.loop.call_later(wait_s, self._look)

    def _reads_nothing(self, now: float) -> bool:
        if not self.flow.write_paused:
            self._unread = (0, now)
            return False
        size = self.transport.get_write_buffer_size()
        if size != self._unread[0]:
            self._unread = (size, now)
        return now - self._unread[1] > self._receive_s


def _tell(
    connection: ref[Protocol], request: ref[RequestResponseCycle], leave: Callable[[], None] | None
) -> None:
    """See ``asgi.Leaving``: from now on ``leave`` is called when the request's client leaves; None: nothing is."""
    protocol, cycle = connection(), request()
    if protocol is None:  # closed long ago
        return
    if leave is None:
        protocol.leaving.pop(request, None)
    elif cycle is not None:  # it lives as long as its application runs
        protocol.leaving[request] = leave
        if cycle.disconnected:
            leave()


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
        """End the current response: the next bytes are the head of another one."""
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
    """The server's ``asgi.Push`` of one request."""

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
    """Exempt all present objects from garbage collection, and collect less often.

    By default Python collects after 700 new containers, which is with every fourth response, and a response leaves no
    reference cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS, *gc.get_threshold()[1:])


def _bounds(settings: Server) -> Bounds:
    return Bounds(settings.max_head_bytes, settings.max_headers, settings.receive_timeout_s)


def config_of(app: object, settings: Server, **more: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for an application, or with ``factory=True`` for a function that returns one."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type] # an ASGI application
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=log_config(settings.log),
        access_log=False,  # the metrics count requests; a log line costs as much as a short request
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=round(settings.drain_s),
        timeout_worker_healthcheck=_HUNG_S,
        http=partial(Protocol, bounds=_bounds(settings)),  # type: ignore[arg-type] # it is only called
        ws="none",
        **more,
    )


class _Server(uvicorn.Server):
    """A server that calls ``announce`` with its address once it accepts connections."""

    def __init__(self, config: uvicorn.Config, announce: Announce) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce(address_of(self.config, self.servers[0].sockets[0]))


def address_of(config: uvicorn.Config, listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listener.getsockname()[1]}"


def check_port(settings: Server) -> None:
    """Raise OSError where the address cannot be listened on, before the application starts."""
    if settings.port == 0:
        return
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        probe.bind(address)


def server_of(app: object, settings: Server, announce: Announce = lambda _: None) -> uvicorn.Server:
    """Return a server for this process; ``announce`` gets its address once it accepts connections."""
    return _Server(config_of(app, settings), announce)
