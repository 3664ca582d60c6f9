"""Bodies, clients that go away, and streams that begin late: each against a server that the test plays."""

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


# Streams that begin late


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
    return asgi.EventStream(client.send, lambda: headers, keepalive_s)


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
    with asgi.EventStream(client.send, lambda: known, 60.0) as out:
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
    assert set(kept) == {asgi.KEEPALIVE}
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
    with asgi.EventStream(client.send, list, 60.0, server.push) as out:
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
    with asgi.EventStream(client.send, list, 0.001, server.push) as out:
        await out.write(b"a")
        server.full = True
        waiting = asyncio.ensure_future(out.push(b"b")())
        await asyncio.wait([waiting], timeout=0.02)
        assert client.bodies == [b"a"]
        server.room.set()
        await waiting
        await client.has(3)
    assert client.bodies[1] == asgi.KEEPALIVE


async def test_a_push_waits_for_a_keep_alive_that_has_begun():
    client, server = Client(), Taking()
    with asgi.EventStream(client.send, list, 0.001, server.push) as out:
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
    assert set(client.bodies[:-2]) == {asgi.KEEPALIVE}


async def test_a_server_without_a_push_is_sent_to():
    client = Client()
    wait = asgi.pusher({"extensions": None}, client.send)(b"a")
    assert client.sent == []
    await wait()
    assert client.sent == [{"type": "http.response.body", "body": b"a", "more_body": True}]
