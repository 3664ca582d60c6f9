"""Streamed responses: their begin, their keep-alive comments and their end."""

from __future__ import annotations

import asyncio

from proxy.gateway.event_stream import KEEPALIVE, EventStream
from proxy.server import asgi


class Client:
    """A client whose ``send`` keeps what was sent, and can be slow."""

    def __init__(self):
        self.sent = []
        self.came = asyncio.Condition()
        self.reads = asyncio.Event()
        self.reads.set()
        self.asked = asyncio.Event()

    async def send(self, message):
        self.asked.set()
        await self.reads.wait()
        async with self.came:
            self.sent.append(message)
            self.came.notify_all()

    async def has(self, count):
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.sent) >= count), 10)

    @property
    def bodies(self):
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]


def stream(client, keepalive_s=60.0, headers=((b"x", b"y"),)):
    return EventStream(client.send, lambda: headers, keepalive_s)


async def test_a_stream_begins_with_its_first_bytes_and_ends_once():
    client = Client()
    with stream(client) as out:
        assert not out.started
        await out.write(b"a")
        assert out.started
        await out.end(b"b")
    assert client.sent[0] == {"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]}
    assert client.bodies == [b"a", b"b"]
    assert [message["more_body"] for message in client.sent[1:]] == [True, False]


async def test_the_headers_are_asked_for_when_they_are_sent():
    client, known = Client(), []
    with EventStream(client.send, lambda: known, 60.0) as out:
        known.append((b"late", b"1"))
        await out.end(b"x")
    assert client.sent[0]["headers"] == [(b"late", b"1")]


async def test_a_quiet_stream_is_kept_alive():
    client = Client()
    with stream(client, keepalive_s=0.001) as out:
        await client.has(4)
        assert out.started
        await out.end(b"x")
    kept = client.bodies[:-1]
    assert set(kept) == {KEEPALIVE}
    assert len(kept) >= 3
    assert client.bodies[-1] == b"x"


async def test_a_busy_stream_is_not():
    client = Client()
    loop = asyncio.get_running_loop()
    with stream(client, keepalive_s=30.0) as out:
        await out.write(b"a")
        assert loop.time() - out._last < 30.0
        out._idle()  # the clock's call, come early: it waits for the rest
        await asyncio.sleep(0)
    assert client.bodies == [b"a"]


async def test_nothing_is_written_into_another_write_or_after_the_end():
    """The server may suspend a write for as long as the client does not read."""
    client = Client()
    client.reads.clear()
    with stream(client, keepalive_s=0.001) as out:
        ending = asyncio.create_task(out.end(b"x"))
        await asyncio.wait([ending], timeout=0.02)  # several keep-alives would have been due
        assert client.sent == []
        client.reads.set()
        await ending
    await asyncio.sleep(0)
    assert client.sent[0]["type"] == "http.response.start"
    assert client.bodies == [b"x"]


async def test_a_keep_alive_that_waits_for_the_client_ends_with_the_stream():
    client = Client()
    client.reads.clear()
    before = asyncio.all_tasks()
    with stream(client, keepalive_s=0.001):
        await client.asked.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert client.sent == []


# Bodies that are pushed


class Taking:
    """A server's own push: it takes a piece at once, or lets it wait while ``full``."""

    def __init__(self):
        self.taken = []
        self.room = asyncio.Event()
        self.full = False

    def push(self, data):
        self.taken.append(data)
        return self.room.wait if self.full else None


async def test_a_begun_stream_is_pushed_as_the_server_takes_it():
    client, server = Client(), Taking()
    with EventStream(client.send, list, 60.0, server.push) as out:
        wait = out.push(b"a")
        assert wait is not None  # the head is sent first
        await wait()
        assert out.push(b"b") is None
        assert out.push(b"c") is None
        await out.end(b"d")
    assert client.bodies == [b"a", b"d"]
    assert server.taken == [b"b", b"c"]


async def test_no_keep_alive_comes_between_while_the_server_cannot_take_more():
    client, server = Client(), Taking()
    with EventStream(client.send, list, 0.001, server.push) as out:
        await out.write(b"a")
        server.full = True
        waiting = asyncio.ensure_future(out.push(b"b")())
        await asyncio.wait([waiting], timeout=0.02)
        assert client.bodies == [b"a"]
        server.room.set()
        await waiting
        await client.has(3)
    assert client.bodies[1] == KEEPALIVE


async def test_a_push_waits_for_a_keep_alive_that_has_begun():
    client, server = Client(), Taking()
    with EventStream(client.send, list, 0.001, server.push) as out:
        await client.has(2)
        client.reads.clear()
        client.asked.clear()
        await client.asked.wait()
        pushed = asyncio.ensure_future(out.push(b"a")())
        await asyncio.sleep(0)
        client.reads.set()
        await pushed
        await out.end(b"")
    assert client.bodies[-2:] == [b"a", b""]
    assert set(client.bodies[:-2]) == {KEEPALIVE}


async def test_a_server_without_a_push_is_sent_to():
    client = Client()
    wait = asgi.pusher({"extensions": None}, client.send)(b"a")
    assert client.sent == []
    await wait()
    assert client.sent == [{"type": "http.response.body", "body": b"a", "more_body": True}]
