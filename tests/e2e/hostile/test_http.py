"""Bytes that are almost HTTP: every reader of them must see the same requests, and none for ever."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.proxies import PLAIN, Proxy, asking
from tests.fakes import DEADLINE_S, answer, raw, says

if TYPE_CHECKING:
    from tests.fakes import FakeUpstream

#: A request that an attacker smuggles: if the proxy read it, it would answer with a second 404.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
#: Paths of gated endpoints, of passed-through requests and of Starlette's routes.
PATHS = ["/v1/chat/completions", "/v1/feedback", "/v1/embeddings", "/admin/api/routes", "/nowhere"]


def connect(target: Proxy) -> socket.socket:
    host, port = target.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), DEADLINE_S)


def answers(connection: socket.socket) -> list[int]:
    """Return the statuses of all responses until the connection ends."""
    seen = b""
    try:
        while piece := connection.recv(65_536):
            seen += piece
    except ConnectionError:  # it was closed with bytes of ours unread
        pass
    lines = seen.split(b"HTTP/1.1 ")[1:]
    return [int(line[:3]) for line in lines]


def told(target: Proxy, sent: bytes) -> list[int]:
    with connect(target) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        return answers(connection)


CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
AMBIGUOUS = {
    "a length and chunks": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 0\r\ncontent-length: 36\r\n\r\n",
    "one length twice": POST + b"content-length: 0\r\ncontent-length: 0\r\n\r\n",
    "a list of lengths": POST + b"content-length: 0, 36\r\n\r\n",
    "a signed length": POST + b"content-length: +0\r\n\r\n",
    "a negative length": POST + b"content-length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"content-length: 0x0\r\n\r\n",
    "a length with a space": POST + b"content-length: 3 6\r\n\r\n",
    "no length": POST + b"content-length: \r\n\r\n",
    "a length beyond numbers": POST + b"content-length: " + b"9" * 30 + b"\r\n\r\n",
    "a coding unknown": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding before chunks": POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding after chunks": POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "identity": POST + b"transfer-encoding: identity\r\n\r\n",
    "chunks twice": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in two lines": POST + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a tab in the coding": POST + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": POST + b"x-a: b\r\n c: d\r\ncontent-length: 0\r\n\r\n",
    "a folded coding": POST + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "lines without a carriage return": POST.replace(b"\r", b"") + b"content-length: 0\n\n",
    "one line without": POST + b"x-a: b\ncontent-length: 0\r\n\r\n",
    "a carriage return alone": POST + b"x-a: b\rcontent-length: 36\r\n\r\n",
    "a zero byte": POST + b"x-a: b\0c\r\ncontent-length: 0\r\n\r\n",
    "a name with a space": POST + b"x a: b\r\ncontent-length: 0\r\n\r\n",
    "no name": POST + b": b\r\ncontent-length: 0\r\n\r\n",
    "a chunk's line without a carriage return": CHUNKED + b"0\n\n",
    "a chunk of negative size": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "a chunk of hexadecimal size": CHUNKED + b"0x0\r\n\r\n",
    "a chunk beyond numbers": CHUNKED + b"f" * 20 + b"\r\na\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "an extension over two lines": CHUNKED + b"1;a=\nb\r\na\r\n0\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that is none": b"GET / HTTP/3.7\r\nhost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100") + b"a" * 60,
    "a tunnel": b"CONNECT evil:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path beyond ASCII": b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "a query beyond ASCII": b"GET /v1/files?\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused(target: Proxy, case):
    """What follows it is not read as a request."""
    got = told(target, AMBIGUOUS[case] + SMUGGLED)
    assert len(got) == 1
    assert got[0] in (400, 405, 415)


@pytest.mark.parametrize("line", [
    b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://evil/v1/models HTTP/1.1", b"GET //evil/v1/models HTTP/1.1",
    b"GET /v1/%ff%fe HTTP/1.1", b"GET /v1/%00 HTTP/1.1", b"GET /v1/%zz HTTP/1.1", b"GET /v1/..%2f..%2fadmin HTTP/1.1",
    b"GET /v1/files?%ff=%00 HTTP/1.1", b"GET /v1/files/%0d%0ax:y HTTP/1.1", b"TRACE / HTTP/1.1",
    b"BREW /v1/models HTTP/1.1",
    b"GET ? HTTP/1.1", b"GET # HTTP/1.1", b"GET /v1/models# HTTP/1.1",
    b"GET http:// HTTP/1.1", b"GET http://[::1 HTTP/1.1",
])  # fmt: skip
def test_strange_targets_have_one_answer_that_is_no_defect(target: Proxy, line):
    got = told(target, line + b"\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert len(got) == 1
    assert got[0] < 500 or got[0] in (502, 503)  # 502: passed through to an upstream that does not know it


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("part", ["head", "length", "chunks"])
def test_a_request_that_trickles_is_ended(target: Proxy, path, part):
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" % path.encode()
    begun = {
        "head": head + b"x-a: ",
        "length": head + b"content-length: 5000\r\n\r\n",
        "chunks": head + b"transfer-encoding: chunked\r\n\r\n4000\r\n",
    }
    with connect(target) as connection:
        connection.sendall(begun[part])
        connection.settimeout(0.05)
        seen = b""
        ended = False
        for _ in range(2_000):
            try:
                connection.sendall(b"a")
                piece = connection.recv(65_536)
                seen += piece
                ended = not piece
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
            if ended:
                break
        assert ended
    # A path that needs no body answers at once, or refuses; the others wait, and not for ever.
    assert int(seen[9:12]) in (401, 404, 405, 408)


def test_a_thousand_that_trickle_keep_nobody_from_the_door(target: Proxy, upstream: FakeUpstream):
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(target)) for _ in range(400)]
        for number, connection in enumerate(slow):
            connection.sendall((POST + b"content-length: 900\r\n\r\n{")[: 20 + number % 100])
        prompt = upstream.script(answer(says("x")))
        assert target.post(asking("enforce", prompt)).status_code == 200
        for connection in slow:
            assert answers(connection) == [408]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("flood", "status"), [
    (b"x: y\r\n" * 5_000, 431), (b"x: " + b"y" * 1_000_000 + b"\r\n", 431), (b"y" * 300_000 + b": x\r\n", 431),
    (b"".join(b"x-%d: %d\r\n" % (n, n) for n in range(129)), 431), (b"cookie: a=b\r\n" * 200, 431),
])  # fmt: skip
def test_a_flood_of_headers_is_refused(target: Proxy, path, flood, status):
    got = told(
        target, b"POST %b HTTP/1.1\r\nhost: x\r\n" % path.encode() + flood + b"content-length: 0\r\n\r\n"
    )
    assert got in ([status], [])  # closed while it still came


def test_a_path_without_an_end_is_refused(target: Proxy):
    assert told(target, b"GET /" + b"a" * 700_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n") in ([431], [])


@pytest.mark.parametrize("framing", [b"1;" + b"a=b;" * 300_000, b"1\r\na\r\n0\r\n" + b"x: y\r\n" * 100_000])
def test_framing_without_an_end_is_refused(target: Proxy, framing):
    assert told(target, CHUNKED + framing) in ([400], [431], [])


@pytest.mark.parametrize("name", [
    "authorization", "x-api-key", "x-idk-route", "content-type", "x-stainless-timeout", "traceparent", "cookie",
    "host", "accept", "origin", "x-request-id", "range", "if-match", "te", "forwarded",
])  # fmt: skip
def test_values_that_nobody_expects(target: Proxy, name):
    """Each by itself, on every kind of path: refused, or left aside."""
    values = [
        b"",
        b"\xff\xfe",
        b"a" * 60_000,
        b"-1",
        b"1e999",
        b"nan",
        b"'\"<>{}%00",
        b"Bearer " + b"\xc3\x28" * 50,
    ]
    for path in ("/v1/chat/completions", "/v1/files", "/admin/api/routes", "/health"):
        for value in values:
            body = json.dumps(asking("nobody", "?")).encode()
            head = b"POST %b HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n" % (
                path.encode(),
                len(body),
            )
            [status] = told(target, head + b"%b: %b\r\n\r\n" % (name.encode(), value) + body)
            assert status < 500 or status == 502, (path, value[:20])


@pytest.mark.parametrize("path", [*PATHS, "/v1/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"])
def test_compressed_bodies_are_refused_unread(target: Proxy, path, coding):
    bomb = zlib.compress(b" " * 5_000_000 + b"{}", 9)
    got = target.post(bomb, path, headers={"content-encoding": coding})
    assert got.status_code in (401, 404, 405, 415)
    assert got.status_code == 415 or path in ("/admin/api/routes", "/nowhere")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/feedback", "/v1/embeddings"])
@pytest.mark.parametrize("announced", [True, False])
def test_bodies_over_the_bound(target: Proxy, path, announced):
    pieces = (b" " * 100_000 for _ in range(90))
    headers = {"content-type": "application/json", **({"content-length": "9000000"} if announced else {})}
    try:
        got = httpx.post(f"{target.url}{path}", content=pieces, headers=headers, timeout=DEADLINE_S, **PLAIN)
    except (httpx.WriteError, httpx.ReadError):
        return  # refused before it had all come
    assert got.status_code == 413


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["enforce", "observe", "off"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_an_upstreams_bomb_is_not_unpacked_beyond_the_bound(
    target: Proxy, upstream: FakeUpstream, model, streamed, coding
):
    """The proxy asked for no compression."""
    packed = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    bomb = packed.compress(b'{"choices":[' + b" " * 60_000_000) + packed.flush()
    kind = "text/event-stream" if streamed else "application/json"
    prompt = upstream.script(raw(bomb, headers={"content-encoding": coding, "content-type": kind}))
    got = target.post(asking(model, prompt, stream=streamed))
    # A route that is off keeps nothing: what comes flows on, in pieces, as fast as its client takes it.
    assert got.status_code == 502 or model == "off"


def test_thousands_at_once_that_leave_in_the_middle(target: Proxy):
    """Half a request, then a reset, from several sides."""

    def leave() -> None:
        for number in range(100):
            with connect(target) as connection:
                connection.sendall((POST + b"content-length: 10\r\n\r\n{}")[: 10 + number])

    threads = [threading.Thread(target=leave) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["enforce", "observe"])
def test_a_client_of_http_1_0_gets_no_chunks(target: Proxy, upstream: FakeUpstream, model, stream):
    """The response has its length and ends the connection."""
    body = json.dumps(asking(model, upstream.script(answer(says("Par", "is"))), stream=stream)).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    seen = b""
    with connect(target) as connection:
        connection.sendall(head % len(body) + body)
        while piece := connection.recv(65_536):
            seen += piece
    headers, _, sent = seen.lower().partition(b"\r\n\r\n")
    assert b" 200 " in headers.splitlines()[0]
    assert b"transfer-encoding" not in headers
    assert b"content-length: %d" % len(sent) in headers
    assert (b"data: [done]" in sent) is stream
    assert b"paris" in sent or b'"is"' in sent
