"""What a connection's client is held to, on the wire: against an application that reads whole requests."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.server import asgi
from proxy.server.inbound_limits import Bounds, Incoming, Refused
from tests.proxy.served import serving

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
#: Tests that wait for a deadline wait this long; the others have the minute that is the default.
HASTY_S = 0.2


class Echo:
    """Answers with what it read, once it has read it all; counts those who left before."""

    def __init__(self):
        self.seen, self.left, self.came = [], asyncio.Event(), asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        try:
            body = await asgi.read_body(receive, scope["headers"], 1_000_000)
        except asgi.ClientGone:
            self.left.set()
            return
        self.seen.append((scope, body))
        self.came.set()
        await self.go.wait()
        await asgi.respond(send, 200, [], body)


async def everything(reader):
    return await asyncio.wait_for(reader.read(), 30)


async def refused(reader, status, code):
    """Assert that the connection ends with this error."""
    head, _, body = (await everything(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in head
    assert b"x-request-id: idk-" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


@pytest.mark.parametrize("sent", [
    b"P", HEAD, HEAD + b"x-a: ", HEAD + b"content-length: 9\r\n\r\n", HEAD + b"content-length: 9\r\n\r\nabc",
    CHUNKED, CHUNKED + b"5\r\nab", CHUNKED + b"2\r\nab\r\n", CHUNKED + b"2\r\nab\r\n0\r\n", CHUNKED + b"2;ext=",
])  # fmt: skip
async def test_a_request_that_stops_coming_is_ended(sent):
    app = Echo()
    async with serving(app, receive_timeout_s=HASTY_S) as (reader, writer):
        writer.write(sent)
        await refused(reader, 408, "request_timeout")
        if b"\r\n\r\n" in sent:
            await asyncio.wait_for(app.left.wait(), 30)
        assert app.seen == []


@pytest.mark.parametrize("sent", [HEAD + b"x-a: ", HEAD + b"content-length: 100000\r\n\r\n"])
async def test_so_is_one_that_trickles(sent):
    async with serving(Echo(), receive_timeout_s=HASTY_S) as (reader, writer):
        writer.write(sent)
        ended = asyncio.ensure_future(refused(reader, 408, "request_timeout"))
        while not ended.done():
            writer.write(b"a")
            await asyncio.wait({ended}, timeout=0.01)
        await ended


async def test_a_connection_that_says_nothing_is_closed_without_a_word():
    async with serving(Echo(), receive_timeout_s=HASTY_S) as (reader, _):
        assert await everything(reader) == b""


async def test_a_request_in_many_pieces_is_whole_in_time():
    app = Echo()
    async with serving(app) as (reader, writer):
        for byte in HEAD + b"content-length: 3\r\n\r\nabc":
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.readuntil(b"\r\n\r\nabc")


async def test_what_an_application_leaves_unread_is_not_held_against_its_client():
    """The server stops reading while the application leaves a body unread."""
    begin = asyncio.Event()
    app = Echo()

    async def slow(scope, receive, send):
        if scope["type"] == "http":
            await begin.wait()
            await app(scope, receive, send)

    body = b"a" * 300_000
    async with serving(slow, receive_timeout_s=HASTY_S) as (reader, writer):
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % (len(body) + 1) + body)
        assert not await _closes_within(reader, 4 * HASTY_S)
        begin.set()
        writer.write(b"a")
        await reader.readuntil(b"\r\n\r\n" + body)


async def _closes_within(reader, wait_s):
    try:
        return await asyncio.wait_for(reader.read(1), wait_s) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize("pieces", [1, 40])
@pytest.mark.parametrize(("head", "code"), [
    (b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", "head_too_large"),
    (HEAD + b"x-a: " + b"a" * 3_000 + b"\r\n\r\n", "head_too_large"),
    (HEAD + b"a" * 3_000 + b": x\r\n\r\n", "head_too_large"),
    (HEAD + b"x: y\r\n" * 20 + b"\r\n", "too_many_headers"),
])  # fmt: skip
async def test_heads_are_bounded(head, code, pieces):
    app = Echo()
    async with serving(app, max_head_bytes=2_000, max_headers=20) as (reader, writer):
        step = -(-len(head) // pieces)
        for start in range(0, len(head), step):
            writer.write(head[start : start + step])
            await writer.drain()
        await refused(reader, 431, code)
        assert app.seen == []


@pytest.mark.parametrize("endless", [b"x-a: ", b"x-" * 1_000])
async def test_a_head_without_an_end_is_refused_before_its_end(endless):
    async with serving(Echo(), max_head_bytes=2_000) as (reader, writer):
        writer.write(HEAD + endless)
        for _ in range(5):  # what is read at once cannot be told from what came before
            writer.write(b"a" * 200_000)
            await writer.drain()
        await refused(reader, 431, "head_too_large")


@pytest.mark.parametrize(("endless", "status", "code"), [
    (b"1;" + b"a=b;" * 100_000, 400, "framing"),
    (b"1\r\na\r\n0\r\nx-t: " + b"a" * 400_000, 400, "framing"),
    (b"1\r\na\r\n0\r\n" + b"x: y\r\n" * 2_000, 431, "too_many_headers"),
])  # fmt: skip
async def test_the_framing_of_a_body_is_bounded(endless, status, code):
    app = Echo()
    async with serving(app, max_head_bytes=2_000, max_headers=20) as (reader, writer):
        writer.write(CHUNKED)
        for start in range(0, len(endless), 5_000):
            writer.write(endless[start : start + 5_000])
            await writer.drain()
            await asyncio.sleep(0)
        await refused(reader, status, code)
        assert app.seen == []


async def test_a_body_in_chunks_of_one_byte_is_taken():
    async with serving(Echo(), max_head_bytes=1_024) as (reader, writer):
        writer.write(CHUNKED)
        for _ in range(2_000):
            writer.write(b"1\r\na\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n" + b"a" * 2_000)


async def test_trailers_are_no_headers():
    app = Echo()
    async with serving(app) as (reader, writer):
        writer.write(CHUNKED + b"1\r\na\r\n0\r\nauthorization: Bearer x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\na")
    [(scope, _)] = app.seen
    assert [name for name, _ in scope["headers"]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize(
    "after", [b"\0\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n"]
)
async def test_the_answer_to_a_good_request_is_not_lost_to_a_bad_one_behind_it(after):
    app = Echo()
    app.go.clear()
    async with serving(app) as (reader, writer):
        writer.write(HEAD + b"content-length: 3\r\n\r\nabc" + after)
        await app.came.wait()
        app.go.set()
        assert (await everything(reader)).endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("pieces", [1, 3, 1_000])
async def test_an_offer_of_another_protocol_is_declined_and_the_body_is_read(protocol, pieces):
    """As Java's clients make with every request to a plain address."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %b\r\nhttp2-settings: AAMAAABk\r\n" % protocol
    request = HEAD + offer + b"content-length: 3\r\n\r\nabc"
    app = Echo()
    async with serving(app) as (reader, writer):
        for body in (b"abc", b"abd"):  # and the connection goes on
            sent = request.replace(b"abc", body)
            step = -(-len(sent) // pieces)
            for start in range(0, len(sent), step):
                writer.write(sent[start : start + step])
                await writer.drain()
            await reader.readuntil(b"\r\n\r\n" + body)
    assert [name for name, _ in app.seen[0][0]["headers"]] == [b"host", b"content-length"]


async def test_an_offer_may_also_ask_for_the_connections_end():
    offer = b"connection: upgrade, close\r\nupgrade: h2c\r\n"
    async with serving(Echo()) as (reader, writer):
        writer.write(HEAD + offer + b"content-length: 3\r\n\r\nabc")
        assert (await everything(reader)).endswith(b"connection: close\r\n\r\nabc")


async def early(scope, receive, send):
    if scope["type"] == "http":
        await asgi.respond(send, 413, [], b"no")


async def test_the_rest_of_a_request_that_was_answered_is_dropped_and_the_next_one_heard():
    async with serving(early) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"content-length: 900000\r\n\r\n")
            await reader.readuntil(b"\r\n\r\nno")
            writer.write(b"a" * 900_000)
            await writer.drain()


async def test_the_rest_is_not_awaited_for_ever():
    async with serving(early, receive_timeout_s=HASTY_S) as (reader, writer):
        writer.write(HEAD + b"content-length: 900000\r\n\r\n")
        ended = asyncio.ensure_future(reader.read())
        while not ended.done():  # however much more of it comes
            writer.write(b"a" * 100)
            await asyncio.wait({ended}, timeout=0.01)
        assert isinstance(ended.exception(), ConnectionError) or ended.result().endswith(b"\r\n\r\nno")


async def test_a_client_that_reads_nothing_of_its_answer_is_left():
    left = asyncio.Event()

    async def endless(scope, receive, send):
        if scope["type"] != "http":
            return
        scope["extensions"][asgi.LEAVING](left.set)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not left.is_set():
            await send({"type": "http.response.body", "body": b"a" * 100_000, "more_body": True})
            await asyncio.sleep(0)

    async with serving(endless, receive_timeout_s=HASTY_S) as (_, writer):
        writer.transport.pause_reading()
        writer.write(HEAD + b"content-length: 0\r\n\r\n")
        await asyncio.wait_for(left.wait(), 30)


def test_who_sends_fast_enough_is_never_late():
    incoming = Incoming(Bounds(head_bytes=1_000, headers=10, receive_s=10.0))
    incoming.begin()
    incoming.check(b"/", [])
    incoming.begin_body()
    assert incoming.more(500, 1, now=0.0) == 10.0
    for second in range(1, 100):
        incoming.body(1_000)
        assert incoming.more(1_000, 1, now=float(second)) == 10.0 + second
    assert incoming.excuse(now=500.0) == 510.0
    assert incoming.more(1, 1, now=501.0) == 510.0


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity", b"gzip"])
def test_codings_that_nobody_would_undo_are_refused(coding):
    incoming = Incoming(Bounds(head_bytes=1_000, headers=10, receive_s=10.0))
    incoming.begin()
    with pytest.raises(Refused, match="transfer-encoding"):
        incoming.check(b"/", [(b"transfer-encoding", coding)])
