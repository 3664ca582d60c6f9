"""A pool of connections to one upstream: opens them, keeps idle ones, and closes those that are overdue."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs

from proxy.exceptions import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from proxy.upstreams.http1.connection import Connection

if TYPE_CHECKING:
    from proxy.upstreams.origin import Origin
    from proxy.upstreams.transport import Timeouts

#: Seconds before the next address of a host is tried in parallel (RFC 8305 section 5).
_HAPPY_EYEBALLS_S: Final = 0.25
#: Deadlines are checked this often within the shortest timeout, so a timeout is at most 5 % late.
_SWEEPS_PER_TIMEOUT: Final = 20
_MIN_SWEEP_S: Final = 0.01
_MAX_SWEEP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of a connection pool."""

    #: Connections open at once; further requests wait for a free one.
    max_connections: int = 1_000
    #: Idle connections that are kept; a connection returned beyond it is closed.
    max_idle: int = 128
    #: Seconds after which an idle connection is closed: shorter than servers wait (nginx 75 s, envoy an hour), so
    #: that a request seldom meets a connection that the server is closing.
    idle_s: float = 30.0


class ConnectionPool:
    """Open connections to one upstream; idle ones are reused last in, first out, so that few stay open."""

    __slots__ = (
        "_connecting", "_connections", "_idle", "_limits", "_origin", "_sweep_s", "_timeouts", "_timer", "_tls",
        "_waiting",
    )  # fmt: skip

    def __init__(
        self, origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, limits: PoolLimits
    ) -> None:
        self._limits = limits
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._origin = origin
        self._timeouts = timeouts
        self._tls = tls
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._timer: asyncio.TimerHandle | None = None
        shortest = min(timeouts.write_s, timeouts.read_s, limits.idle_s)
        self._sweep_s = min(max(shortest / _SWEEPS_PER_TIMEOUT, _MIN_SWEEP_S), _MAX_SWEEP_S)

    def take(self) -> Connection | None:
        """Return the idle connection that was used last, or None."""
        return self._idle.pop() if self._idle else None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last response ended cleanly."""
        if len(self._idle) < self._limits.max_idle:
            connection.deadline = connection.loop.time() + self._limits.idle_s
            self._idle.append(connection)
            self._wake()
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection and let the next waiting request proceed."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    async def connect(self) -> Connection:
        """Return a new connection, or the next free one where the pool is full; requests wait in order.

        Raises UpstreamBusy, UpstreamTimeout or UpstreamUnreachable.
        """
        loop = asyncio.get_running_loop()
        connect_s = self._timeouts.connect_s
        try:
            async with asyncio.timeout(connect_s):
                freed = await self._room(loop)
        except TimeoutError as error:
            message = (
                f"all {self._limits.max_connections} connections to the upstream are in use; try again later"
            )
            raise UpstreamBusy(message, retry_after_s=1.0) from error
        try:
            async with asyncio.timeout(connect_s):
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
        """Wait until another connection may be opened; return an idle one where that comes free first."""
        queue = self._waiting.append
        while len(self._connections) + self._connecting >= self._limits.max_connections:
            turn = loop.create_future()
            queue(turn)
            queue = self._waiting.appendleft  # a request that lost its connection to a newer one stays first
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # the next waiting request must not wait for a cancelled one
                raise
            idle = self.take()
            if idle is not None:
                return idle
        return None

    def _wake(self) -> None:
        """Wake the first request that still waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _new(self, loop: asyncio.AbstractEventLoop) -> Connection:
        self._connecting += 1
        try:
            connection = await self._open(loop)
        except BaseException:
            self._connecting -= 1
            self._wake()
            raise
        self._connecting -= 1
        return connection

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Connection:
        # uvloop's create_connection does not implement Happy Eyeballs; aiohappyeyeballs works on both loops.
        addresses = await loop.getaddrinfo(
            self._origin.host, self._origin.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_S, interleave=1, loop=loop
        )
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await loop.create_connection(
                lambda: Connection(self, loop, self._timeouts),
                sock=connected,
                ssl=self._tls,
                server_hostname=self._origin.host if self._tls is not None else None,
            )
        except BaseException:
            connected.close()
            raise
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [each for each in self._connections if each.deadline < now]:
            connection.expire()
        self._timer = loop.call_later(self._sweep_s, self._sweep, loop) if self._connections else None

    async def aclose(self) -> None:
        """Close every connection, and yield once so that the event loop processes it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)
