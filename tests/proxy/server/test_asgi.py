"""Request bodies, and clients that disconnect: each against a server that the test plays."""

from __future__ import annotations

import asyncio

import pytest

from proxy.exceptions import BodyTooLarge
from proxy.server import asgi


def receiving(*messages):
    """Return a ``receive`` that gives these messages and then waits for ever."""
    waiting = list(messages)

    async def receive():
        if waiting:
            return waiting.pop(0)
        return await asyncio.get_running_loop().create_future()

    return receive


def piece(body, *, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


# Bodies


@pytest.mark.parametrize(("messages", "body"), [
    ([piece(b"abc", more=False)], b"abc"), ([piece(b"a"), piece(b""), piece(b"bc", more=False)], b"abc"),
    ([piece(b"abc"), piece(b"", more=False)], b"abc"), ([{"type": "http.request"}], b""),
])  # fmt: skip
async def test_a_body_is_read_whole(messages, body):
    assert await asgi.read_body(receiving(*messages), [], 3) == body


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"3")], [(b"content-length", b"x")]])
async def test_a_body_over_the_limit_is_refused(headers):
    with pytest.raises(BodyTooLarge, match=r"over 3 bytes \(server.max_body_bytes\)"):
        await asgi.read_body(receiving(piece(b"ab"), piece(b"cd")), headers, 3)


async def test_an_announced_length_over_the_limit_is_refused_unread():
    async def receive():
        raise AssertionError("it was read")

    with pytest.raises(BodyTooLarge):
        await asgi.read_body(receive, [(b"content-length", b"4")], 3)


async def test_a_client_may_leave_in_the_middle():
    with pytest.raises(asgi.ClientGone):
        await asgi.read_body(receiving(piece(b"a"), GONE), [], 3)


def test_headers_are_found_by_name():
    headers = [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]
    assert asgi.header(headers, b"b") == b"2"
    assert asgi.header(headers, b"c") is None


def test_ids_are_unique_and_printable():
    ids = {asgi.request_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert len({each[:20] for each in ids}) == 1_000  # 64 of the 128 bits are enough to tell them apart
    assert all(each.startswith(b"idk-") and len(each) == 36 and each.isascii() for each in ids)


async def test_a_whole_response_says_how_long_it_is():
    sent = []

    async def send(message):
        sent.append(message)

    await asgi.respond(send, 201, [(b"x", b"y")], b"abc")
    assert sent == [
        {"type": "http.response.start", "status": 201, "headers": [(b"x", b"y"), (b"content-length", b"3")]},
        {"type": "http.response.body", "body": b"abc"},
    ]


# Clients that go away


class Server:
    """A server whose ``receive`` waits until the test disconnects the client."""

    def __init__(self):
        self.left = asyncio.Event()
        self.listening = asyncio.Event()

    async def receive(self):
        self.listening.set()
        await self.left.wait()
        return GONE


async def test_work_is_cancelled_when_the_client_leaves():
    server, cancelled = Server(), False

    async def leave():
        await server.listening.wait()
        server.left.set()

    leaving = asyncio.create_task(leave())
    async with asgi.CancelOnDisconnect(server.receive) as client:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled = True
            raise
    assert cancelled
    assert client.gone
    await leaving
    await asyncio.sleep(0)  # the task itself goes on: the cancellation was the client's


async def test_a_server_that_tells_is_not_listened_to():
    told = []

    async def receive():
        raise AssertionError("it was listened to")

    async with asgi.CancelOnDisconnect(receive, told.append) as client:
        (leave,) = told
        leave()
        await asyncio.get_running_loop().create_future()
    assert client.gone
    assert told == [leave, None]
    await asyncio.sleep(0)


async def test_what_still_comes_of_the_body_is_not_a_leaving():
    async with asgi.CancelOnDisconnect(receiving(piece(b""), piece(b"", more=False))) as client:
        for _ in range(5):
            await asyncio.sleep(0)
    assert not client.gone


async def test_a_servers_own_cancellation_goes_on():
    server = Server()
    done = []

    async def work():
        async with asgi.CancelOnDisconnect(server.receive) as client:
            done.append(client)
            await asyncio.get_running_loop().create_future()
        done.append("went on")

    task = asyncio.create_task(work())
    await server.listening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(each) for each in done] == [asgi.CancelOnDisconnect]
    assert not done[0].gone


async def test_an_error_of_the_work_is_its_own():
    server = Server()
    with pytest.raises(ValueError, match="mine"):
        async with asgi.CancelOnDisconnect(server.receive):
            raise ValueError("mine")


async def test_the_watcher_ends_with_the_work():
    server = Server()
    before = asyncio.all_tasks()
    async with asgi.CancelOnDisconnect(server.receive):
        await server.listening.wait()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
