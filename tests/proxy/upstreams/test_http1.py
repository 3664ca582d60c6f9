"""The HTTP/1.1 transport: its connection pool, the corner cases of framing, and any segmentation of a response."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.exceptions import UpstreamCut, UpstreamGarbage, UpstreamTimeout
from proxy.upstreams.http1 import PoolLimits, make_transport
from proxy.upstreams.http1.connection import Connection
from proxy.upstreams.http1.pool import ConnectionPool
from proxy.upstreams.origin import Origin
from proxy.upstreams.transport import Timeouts
from tests.proxy.upstreams.peer import Peer, Server, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstreams.transport import Transport
    from tests.proxy.upstreams.peer import Script

LIMIT = 1_000_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT = Timeouts(connect_s=10, write_s=10, read_s=10)


@asynccontextmanager
async def upstream(
    script: Script, timeouts: Timeouts = PATIENT, limits: PoolLimits | None = None
) -> AsyncIterator[tuple[Transport, Server]]:
    async with serving(script) as server:
        transport = make_transport(f"http://127.0.0.1:{server.port}", timeouts, limits=limits)
        try:
            yield transport, server
        finally:
            await transport.aclose()


async def ask(transport: Transport) -> bytes:
    response = await transport.request("POST", "/", [], b"{}")
    try:
        return await response.read(LIMIT)
    finally:
        response.close()


class _Wire(asyncio.Transport):
    """A connection in memory: hypothesis decides how the bytes fall into segments."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def _answer(bodies: list[bytes], *, chunked: bool, trailer: bool) -> bytes:
    if not chunked:
        body = b"".join(bodies)
        return b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    framed = b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies if body)
    end = b"0\r\nX-T: 1\r\n\r\n" if trailer else b"0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + end


@settings(deadline=None, max_examples=200)
@given(
    bodies=st.lists(st.binary(max_size=40), max_size=5),
    chunked=st.booleans(),
    trailer=st.booleans(),
    interim=st.booleans(),
    cuts=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=20),
    excess=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"garbage"]),
    whole=st.booleans(),
)
def test_any_segmentation_gives_the_same_answer(
    bodies: list[bytes],
    chunked: bool,
    trailer: bool,
    interim: bool,
    cuts: list[int],
    excess: bytes,
    whole: bool,
) -> None:
    wire_bytes = _answer(bodies, chunked=chunked, trailer=trailer) + excess
    if interim:
        wire_bytes = b"HTTP/1.1 100 Continue\r\nX-I: 1\r\n\r\n" + wire_bytes

    async def scenario() -> None:
        pool = ConnectionPool(Origin.parse("http://u.test"), PATIENT, None, PoolLimits())
        connection = Connection(pool, asyncio.get_running_loop(), PATIENT)
        wire = _Wire()
        connection.connection_made(wire)
        asking = asyncio.ensure_future(connection.exchange(b"head", None, chunked=False, bodiless=False))
        await asyncio.sleep(0)
        at, turn = 0, 0
        while at < len(wire_bytes) and not wire.closed:
            step = len(wire_bytes) if whole else cuts[turn % len(cuts)]
            connection.data_received(wire_bytes[at : at + step])
            at, turn = at + step, turn + 1
        response = await asking
        assert response.status == 200
        assert response.headers[0] == (b"x", b"y")
        assert len(response.headers) == 2
        assert await response.read(LIMIT) == b"".join(bodies)
        assert wire.closed == bool(excess)
        assert (pool.take() is connection) != bool(excess)

    asyncio.run(scenario())


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(min_value=0, max_value=60), st.binary(max_size=6))
def test_no_bytes_do_anything_but_answer_or_fail(noise: bytes, at: int, spliced: bytes) -> None:
    answer = _answer([b"abc", b"de"], chunked=True, trailer=True)

    async def scenario(received: bytes) -> None:
        pool = ConnectionPool(Origin.parse("http://u.test"), PATIENT, None, PoolLimits())
        connection = Connection(pool, asyncio.get_running_loop(), PATIENT)
        wire = _Wire()
        connection.connection_made(wire)
        asking = asyncio.ensure_future(connection.exchange(b"head", None, chunked=False, bodiless=False))
        await asyncio.sleep(0)
        connection.data_received(received)
        if not wire.closed:
            connection.eof_received()
        connection.connection_lost(None)
        try:
            response = await asking
            await response.read(LIMIT)
        except (UpstreamCut, UpstreamGarbage):
            pass
        assert wire.closed
        assert pool.take() is None

    asyncio.run(scenario(noise))
    asyncio.run(scenario(answer[:at] + spliced + answer[at + len(spliced) :]))


async def test_a_late_cancel_does_not_touch_the_next_request_on_the_connection() -> None:
    pool = ConnectionPool(Origin.parse("http://u.test"), PATIENT, None, PoolLimits())
    connection = Connection(pool, asyncio.get_running_loop(), PATIENT)
    wire = _Wire()
    connection.connection_made(wire)
    first = asyncio.ensure_future(connection.exchange(b"one", None, chunked=False, bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(OK)
    taken = pool.take()
    assert taken is connection
    second = asyncio.ensure_future(taken.exchange(b"two", None, chunked=False, bodiless=False))
    first.cancel()  # its response is complete, but its task has not woken yet
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.sleep(0)
    assert wire.written == b"onetwo"
    connection.data_received(OK)
    assert await (await second).read(LIMIT) == b"ok"
    assert not wire.closed


@pytest.mark.parametrize("endless", [b"5;", b"0\r\nX: "])
async def test_framing_without_end_is_refused(endless: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + endless)
        while True:
            await peer.send(b"y" * 8192)

    async with upstream(script) as (transport, server):
        with pytest.raises(UpstreamGarbage):
            await ask(transport)
        await server.settle()


async def test_idle_connections_grow_old() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with upstream(script, limits=PoolLimits(idle_s=0.05)) as (transport, server):
        assert await ask(transport) == b"ok"
        await asyncio.wait_for(server.settle(), 5)
        assert await ask(transport) == b"ok"
        assert server.connections == 2


async def test_idle_connections_are_bounded() -> None:
    together = asyncio.Barrier(5)

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number < 5:
            await together.wait()
        await peer.send(OK)
        await peer.request()
        await peer.send(OK)

    async with upstream(script, limits=PoolLimits(max_idle=2)) as (transport, server):
        await asyncio.gather(*(ask(transport) for _ in range(5)))
        await asyncio.gather(*(ask(transport) for _ in range(2)))
        assert server.connections == 5


async def test_a_peer_that_ends_its_side_early_has_still_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall")
        peer.end()
        await peer.gone()

    async with upstream(script) as (transport, server):
        assert await ask(transport) == b"all"
        await server.settle()


async def test_a_reader_that_waits_is_no_timeout_of_the_upstream() -> None:
    piece = b"z" * 65_536

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * len(piece)))
        await peer.send(*([piece] * 199))
        await peer.gone()

    async with upstream(script, Timeouts(read_s=0.1)) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        await asyncio.sleep(0.3)  # three times the timeout, with more to be read all the while
        body = response.chunks()
        size = 0
        while size < 199 * len(piece):
            size += len(await anext(body))
        with pytest.raises(UpstreamTimeout):
            await anext(body)
        response.close()


async def test_the_sweep_ends_with_the_last_connection() -> None:
    timeouts = Timeouts(read_s=math.inf, write_s=math.inf)
    pool = ConnectionPool(Origin.parse("http://u.test"), timeouts, None, PoolLimits())
    assert pool.take() is None
    await pool.aclose()


async def test_a_reset_is_no_end_of_a_body_without_length() -> None:
    proceed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await proceed.wait()
        peer.reset()

    async with upstream(script) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        reading = asyncio.ensure_future(response.read(LIMIT))
        proceed.set()
        with pytest.raises(UpstreamCut):
            await reading
        response.close()


async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    proceed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await proceed.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await peer.gone()

    async with upstream(script) as (transport, server):
        assert await ask(transport) == b"ok"
        proceed.set()
        await asyncio.sleep(0.01)  # let them arrive: before that they are an answer like any other
        assert await ask(transport) == b"ok"
        assert server.connections == 2
