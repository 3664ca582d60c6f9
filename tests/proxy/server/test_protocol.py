"""What the server puts on the wire, and when: against applications that the tests play."""

from __future__ import annotations

import asyncio
import gc

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from proxy.config import Server
from proxy.server import asgi
from proxy.server.protocol import config_of
from tests.proxy.served import serving

START = {"type": "http.response.start", "status": 200, "headers": []}
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"


def body(data, *, more=True):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def silence(reader):
    """Return whether nothing arrives."""
    try:
        return await asyncio.wait_for(reader.read(1), 0.05) == b""
    except TimeoutError:
        return True


async def test_the_head_waits_for_the_first_of_the_body_and_goes_out_with_it():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await send(START)
        await go.wait()
        await send(body(b"ab", more=False))

    async with serving(app) as (reader, writer):
        writer.write(POST)
        assert await silence(reader)
        go.set()
        assert (await reader.read(1000)).endswith(b"chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")


async def test_an_empty_first_piece_sends_the_head_alone():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await send(START)
        await send(body(b""))
        await go.wait()
        await send(body(b"x", more=False))

    async with serving(app) as (reader, writer):
        writer.write(POST)
        assert (await reader.read(1000)).endswith(b"chunked\r\n\r\n")
        go.set()
        assert await reader.read(1000) == b"1\r\nx\r\n0\r\n\r\n"


async def test_a_head_without_a_body_and_requests_behind_one_another():
    async def app(scope, receive, send):
        await send({**START, "headers": [(b"x-path", scope["raw_path"]), (b"content-length", b"3")]})
        await send(body(b"abc", more=False))

    async with serving(app) as (reader, writer):
        writer.write(b"HEAD /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nx-path: /%d\r\ncontent-length: 3\r\n\r\n"
        assert await reader.readexactly(2 * len(head) - 2 + 3) == head % 1 + head % 2 + b"abc"


async def test_an_interim_answer_does_not_wait():
    async def app(scope, receive, send):
        await receive()
        await send(START)
        await send(body(b"x", more=False))

    async with serving(app) as (reader, writer):
        writer.write(POST.replace(b"length: 0", b"length: 1\r\nexpect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"y")
        assert (await reader.read(1000)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_failure_after_the_head_sends_it_and_closes():
    async def app(scope, receive, send):
        await send(START)

    async with serving(app) as (reader, writer):
        writer.write(POST)
        assert (await reader.read()).endswith(b"chunked\r\n\r\n")


async def test_pieces_are_pushed_and_a_slow_client_holds_them_back():
    piece, waits = b"z" * 1_000_000, []

    async def app(scope, receive, send):
        push = scope["extensions"][asgi.PUSH]
        await send(START)
        wait = push(b"a")  # the head has not been sent yet: it is sent with this piece
        assert wait is None
        assert push(b"") is None
        while wait is None:
            wait = push(piece)
        waits.append(wait)
        await wait()
        await send(body(b"", more=False))

    async with serving(app) as (reader, writer):
        writer.write(POST)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(6) == b"1\r\na\r\n"
        size = 0
        while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
            length = int(line, 16)
            assert await reader.readexactly(length + 2) == piece + b"\r\n"
            size += 1
        assert size > 1
        assert waits


async def test_a_push_keeps_to_a_length_that_was_announced():
    async def app(scope, receive, send):
        await send({**START, "headers": [(b"content-length", b"2")]})
        await scope["extensions"][asgi.PUSH](b"ab")()
        await send(body(b"", more=False))

    async with serving(app) as (reader, writer):
        writer.write(POST)
        assert (await reader.readuntil(b"\r\n\r\nab")).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_is_told_of_as_long_as_that_is_wanted():
    told: asyncio.Queue[str] = asyncio.Queue()
    go = asyncio.Event()

    async def app(scope, receive, send):
        leaving = scope["extensions"][asgi.LEAVING]
        leaving(lambda: told.put_nowait("no longer wanted"))
        leaving(None)
        leaving(lambda: told.put_nowait("gone"))
        told.put_nowait("begun")
        await go.wait()
        leaving(lambda: told.put_nowait("gone before"))

    async with serving(app) as (_, writer):
        writer.write(POST)
        assert await told.get() == "begun"
        writer.close()
        assert await told.get() == "gone"
        go.set()
        assert await told.get() == "gone before"


def test_a_connection_outlives_a_balancers_minute():
    assert config_of(None, Server()).timeout_keep_alive > 60


@pytest.mark.parametrize("idle_s", [0.05, 60.0])
async def test_an_idle_connection_is_closed_in_time_and_a_busy_one_is_not(idle_s):
    async def app(scope, receive, send):
        await send({**START, "headers": [(b"content-length", b"1")]})
        await asyncio.sleep(0.15)  # longer than a connection may be idle
        await send(body(b"x", more=False))

    async with serving(app, idle_s=idle_s) as (reader, writer):
        for _ in range(2):
            writer.write(POST)
            assert (await reader.readuntil(b"\r\n\r\nx")).startswith(b"HTTP/1.1 200")
        if idle_s < 1.0:
            assert await asyncio.wait_for(reader.read(), 10) == b""
        else:
            assert await silence(reader)
            assert not reader.at_eof()


async def test_requests_leave_nothing_for_the_garbage_collector():
    async def app(scope, receive, send):
        scope["extensions"][asgi.LEAVING](lambda: None)
        await send(START)
        scope["extensions"][asgi.PUSH](b"a")
        await send(body(b"", more=False))
        scope["extensions"][asgi.LEAVING](None)

    gc.collect()
    gc.disable()
    try:
        async with serving(app) as (reader, writer):
            for _ in range(5):
                writer.write(POST)
                await reader.readuntil(b"0\r\n\r\n")
            assert requests_in_memory() <= 1  # a connection keeps its last one
        await asyncio.sleep(0)
        assert requests_in_memory() == 0
    finally:
        gc.enable()


def requests_in_memory():
    return sum(isinstance(each, RequestResponseCycle) for each in gc.get_objects())


async def test_a_push_to_a_client_that_left_is_nothing():
    async def app(scope, receive, send):
        await send(START)
        await send(body(b""))
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set_result(scope["extensions"][asgi.PUSH](b"a"))

    left = asyncio.get_running_loop().create_future()
    async with serving(app) as (reader, writer):
        writer.write(POST)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert await left is None
