"""The connections to one upstream: dialled, kept while idle, and swept for deadlines."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs

from proxy.exceptions import UpstreamTimeout, UpstreamUnreachable
from proxy.upstreams.lean.connection import Connection
from proxy.upstreams.transport import IDLE_S

if TYPE_CHECKING:
    from proxy.upstreams.origin import Origin
    from proxy.upstreams.transport import Timeouts

#: Idle connections kept; over it the one given back is closed.
MAX_IDLE: Final = 128
#: Before the next address of a host is tried beside the first (RFC 8305 section 5).
_HAPPY_EYEBALLS_S: Final = 0.25
#: A timeout is noticed at most this part of the shortest one late: sweeping so seldom costs nothing.
_SWEEPS_PER_TIMEOUT: Final = 20
_MIN_SWEEP_S: Final = 0.01
_MAX_SWEEP_S: Final = 1.0


class Pool:
    """Last in, first out: few connections stay warm, the others grow old and are closed."""

    __slots__ = (
        "_connections", "_dialling", "_idle", "_most", "_origin", "_sweep_s", "_timeouts", "_timer", "_tls",
        "_waiting",
    )  # fmt: skip

    def __init__(
        self, origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, max_connections: int
    ) -> None:
        self._most = max_connections
        self._dialling = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._origin = origin
        self._timeouts = timeouts
        self._tls = tls
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._timer: asyncio.TimerHandle | None = None
        shortest = min(timeouts.write_s, timeouts.read_s, IDLE_S)
        self._sweep_s = min(max(shortest / _SWEEPS_PER_TIMEOUT, _MIN_SWEEP_S), _MAX_SWEEP_S)

    def take(self) -> Connection | None:
        """The idle connection that was used last, or None."""
        return self._idle.pop() if self._idle else None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer came to a clean end."""
        if len(self._idle) < MAX_IDLE:
            connection.deadline = connection.loop.time() + IDLE_S
            self._idle.append(connection)
            self._wake()
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    async def connect(self) -> Connection:
        """A new connection, or one that came free while the pool was full, in the order of asking.

        Raises UpstreamTimeout or UpstreamUnreachable.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                freed = await self._room(loop)
                connection = freed or await self._new(loop)
        except TimeoutError as error:
            raise UpstreamTimeout("the upstream could not be reached in time") from error
        except ssl.SSLError as error:
            message = "the upstream's TLS certificate or handshake was refused"
            raise UpstreamUnreachable(message) from error
        except OSError as error:
            raise UpstreamUnreachable("the upstream cannot be reached") from error
        self._connections.add(connection)
        if self._timer is None:
            self._timer = loop.call_later(self._sweep_s, self._sweep, loop)
        return connection

    async def _room(self, loop: asyncio.AbstractEventLoop) -> Connection | None:
        """Wait until one connection more may be made; gives an idle one if that came first."""
        while len(self._connections) + self._dialling >= self._most:
            turn = loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # whoever is next must not wait for one that left
                raise
            idle = self.take()
            if idle is not None:
                return idle
        return None

    def _wake(self) -> None:
        """Let the first that still waits look again."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _new(self, loop: asyncio.AbstractEventLoop) -> Connection:
        self._dialling += 1
        try:
            connection = await self._dial(loop)
        except BaseException:
            self._dialling -= 1
            self._wake()
            raise
        self._dialling -= 1
        return connection

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> Connection:
        # uvloop's create_connection knows no happy eyeballs; aiohappyeyeballs works on both loops.
        addresses = await loop.getaddrinfo(
            self._origin.host, self._origin.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        dialled = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_S, interleave=1, loop=loop
        )
        try:
            dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await loop.create_connection(
                lambda: Connection(self, loop, self._timeouts),
                sock=dialled,
                ssl=self._tls,
                server_hostname=self._origin.host if self._tls is not None else None,
            )
        except BaseException:
            dialled.close()
            raise
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [each for each in self._connections if each.deadline < now]:
            connection.expire()
        self._timer = loop.call_later(self._sweep_s, self._sweep, loop) if self._connections else None

    async def aclose(self) -> None:
        """Drop every connection and let the loop notice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)
