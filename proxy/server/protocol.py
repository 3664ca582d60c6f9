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

#: Between two looks for garbage: what dies together with a request is seldom looked at, and memory stays small.
_NEW_CONTAINERS = 2_000
#: A worker that has not answered for so long is replaced. A starting one answers when it has imported what it runs,
#: which takes many seconds where all of a busy host's workers start at once; a dead one is seen without asking.
_HUNG_S = 15
#: How long a connection may be idle: longer than balancers keep one that they may use again (nginx and the clouds'
#: a minute), else some of their requests come just when it is closed, and are lost.
_IDLE_S = 75
_INTERIM = b"HTTP/1.1 100 "
#: A longer piece is not copied behind its head.
_MOST_JOINED = 262_144
#: How long a refused client has to read why.
_LINGER_S = 2.0
_REFUSAL = b"%bx-request-id: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
#: What a request offers another protocol with (RFC 9110, 7.8; RFC 7540, 3.2.1).
_OFFERS = frozenset((b"connection", b"upgrade", b"http2-settings"))


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol with bounds, and shortcuts for what costs as much as the rest of a short request or piece.

    A response's head waits for the first of its body, as ASGI has it, and both go out in one system call. A body's
    further pieces can be pushed (``asgi.PUSH``) from where they came in, without a task that sends them, and a
    client is seen to leave (``asgi.LEAVING``) without one that listens. One timer a connection, not one a request,
    looks whether its client has been silent for too long: idle, in the middle of a request, or reading nothing of
    its answer.
    """

    def __init__(self, *args: Any, bounds: Bounds, **more: Any) -> None:
        super().__init__(*args, **more)
        self._incoming = Incoming(bounds)
        self._receive_s = bounds.receive_s
        self._look_s = min(bounds.receive_s, self.timeout_keep_alive)
        self._deadline = math.inf
        #: What comes is dropped: the connection only ends.
        self._deaf = False
        self._refused: Refused | None = None
        #: The head of a request whose ``upgrade`` is not taken up.
        self._declined: bytes | None = None
        #: How much waits for a client that reads nothing, and since when.
        self._unread = (0, math.inf)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self.transport = _HeadHolding(transport)  # type: ignore[assignment] # all that uvicorn uses
        # Of what a request's scope holds, nothing may hold the protocol, which holds the request: a cycle.
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
            # Declined, which the parser has no word for: it would take what follows for another protocol. Some
            # clients (Java's) offer HTTP/2 with every request, and send its body all the same.
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
        self.headers = []  # trailers are no headers of the request that is under way
        if self.cycle is not before:
            request = ref(self.cycle)
            extensions = {asgi.PUSH: _Push(request), asgi.LEAVING: partial(_tell, self._weakly, request)}
            self.cycle.scope["extensions"] = extensions  # type: ignore[typeddict-item] # not of ASGI's own

    def _without_upgrade(self) -> bytes:
        """The head as if no other protocol had been offered; raises Refused."""
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


def _bounds(settings: Server) -> Bounds:
    return Bounds(settings.max_head_bytes, settings.max_headers, settings.receive_timeout_s)


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
