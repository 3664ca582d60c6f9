"""The limit on connections to an upstream, on every transport: further requests wait for a free connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.exceptions import UpstreamBusy, UpstreamTimeout
from proxy.upstreams.http1 import PoolLimits, make_transport
from proxy.upstreams.transport import Timeouts
from tests.proxy.upstreams.peer import serving
from tests.proxy.upstreams.transports import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstreams.transport import Transport

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Crowd:
    """An upstream that holds its responses until ``go`` is set, and counts the requests in flight."""

    def __init__(self):
        self.here = 0
        self.most = 0
        self.arrived = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def __call__(self, peer):
        while await peer.request():
            self.here += 1
            self.most = max(self.most, self.here)
            self.arrived.release()
            await self.go.wait()
            self.here -= 1
            await peer.send(OK)


@pytest.fixture(params=sorted(TRANSPORTS))
def kind(request):
    return request.param


@asynccontextmanager
async def crowded(kind, most, connect_s=10.0) -> AsyncIterator[tuple[Transport, Crowd]]:
    crowd = Crowd()
    async with serving(crowd) as server:
        transport = TRANSPORTS[kind](
            f"http://127.0.0.1:{server.port}",
            Timeouts(connect_s, 10.0, 10.0),
            limits=PoolLimits(max_connections=most),
        )
        try:
            yield transport, crowd
        finally:
            crowd.go.set()
            await transport.aclose()


async def ask(transport):
    response = await transport.request("POST", "/", [], b"{}")
    try:
        return await response.read(100)
    finally:
        response.close()


async def test_the_limit_is_never_exceeded_and_all_requests_are_answered(kind):
    async with crowded(kind, 3) as (transport, crowd), asyncio.timeout(10):
        asking = [asyncio.ensure_future(ask(transport)) for _ in range(20)]
        for _ in range(3):
            await crowd.arrived.acquire()
        crowd.go.set()
        assert await asyncio.gather(*asking) == [b"ok"] * 20
        assert crowd.most == 3


async def test_waiting_ends_with_the_connect_timeout(kind):
    async with crowded(kind, 1, connect_s=0.1) as (transport, crowd), asyncio.timeout(10):
        first = asyncio.ensure_future(ask(transport))
        await crowd.arrived.acquire()
        # aiohttp does not tell waiting for a free connection from waiting for the upstream.
        with pytest.raises(UpstreamBusy if kind == "http1" else UpstreamTimeout):
            await ask(transport)
        crowd.go.set()
        assert await first == b"ok"


async def test_a_cancelled_waiting_request_does_not_block_the_next(kind):
    async with crowded(kind, 1) as (transport, crowd), asyncio.timeout(10):
        first = asyncio.ensure_future(ask(transport))
        await crowd.arrived.acquire()
        second, third = (asyncio.ensure_future(ask(transport)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        crowd.go.set()
        assert await first == b"ok"
        assert await third == b"ok"
        assert second.cancelled()


async def test_a_closed_connection_makes_room(kind):
    async with crowded(kind, 1) as (transport, crowd), asyncio.timeout(10):
        first = asyncio.ensure_future(ask(transport))
        await crowd.arrived.acquire()
        second = asyncio.ensure_future(ask(transport))
        await asyncio.sleep(0)
        first.cancel()
        await crowd.arrived.acquire()
        crowd.go.set()
        assert await second == b"ok"


async def test_a_failed_connection_attempt_makes_room():
    transport = make_transport(
        "http://127.0.0.1:1", Timeouts(5.0, 5.0, 5.0), limits=PoolLimits(max_connections=1)
    )
    failed = await asyncio.gather(*(ask(transport) for _ in range(5)), return_exceptions=True)
    assert {type(error).__name__ for error in failed} == {"UpstreamUnreachable"}
    await transport.aclose()
