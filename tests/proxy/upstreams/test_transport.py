"""What every transport must do, against a server that is told byte by byte what to send."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from proxy.exceptions import (
    BadRequest,
    UpstreamCut,
    UpstreamGarbage,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.upstreams.transport import Timeouts
from tests.proxy.upstreams.peer import Peer, Server, answering, serving
from tests.proxy.upstreams.transports import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.server.asgi import Wait
    from proxy.upstreams.transport import Transport
    from tests.proxy.upstreams.peer import Script

LIMIT = 1_000_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT = Timeouts(connect_s=10, write_s=10, read_s=10)


@pytest.fixture(params=sorted(TRANSPORTS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def upstream(
    kind: str, script: Script, timeouts: Timeouts = PATIENT
) -> AsyncIterator[tuple[Transport, Server]]:
    async with serving(script) as server:
        transport = TRANSPORTS[kind](f"http://127.0.0.1:{server.port}/v1", timeouts)
        try:
            yield transport, server
        finally:
            await transport.aclose()


def cutting(body: bytes) -> Script:
    """Return a script that closes the connection inside a chunked response."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, body)

    return script


async def ask(transport: Transport, body: Any = b"{}", limit: int = LIMIT, method: str = "POST") -> bytes:
    response = await transport.request(method, "/chat", [(b"x-a", b"1")], body)
    try:
        return await response.read(limit)
    finally:
        response.close()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def endless(size: int = 65_536) -> AsyncIterator[bytes]:
    while True:
        yield b"x" * size


async def test_sends_the_request_as_it_is_given(kind: str) -> None:
    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert head.startswith(b"POST /v1/chat?q=%C3%A9 HTTP/1.1\r\n")
        lines = head.lower().split(b"\r\n")
        assert b"authorization: bearer k" in lines
        assert b"x-two: \xc3\xa9" in lines
        assert b"content-length: 4" in lines
        assert sum(line.startswith(b"host: 127.0.0.1:") for line in lines) == 1
        assert not any(line.startswith((b"user-agent", b"accept", b"cookie")) for line in lines)
        assert body == b"body"
        await peer.send(
            b"HTTP/1.1 201 Made\r\nX-B: 1\r\nx-b: 2\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        )

    async with upstream(kind, script) as (transport, _):
        headers = [(b"authorization", b"Bearer k"), (b"x-two", "é".encode())]
        response = await transport.request("POST", "/chat?q=%C3%A9", headers, b"body")
        assert response.status == 201
        expected = [(b"x-b", b"1"), (b"x-b", b"2"), (b"set-cookie", b"a=b"), (b"content-length", b"0")]
        assert list(response.headers) == expected
        assert await response.read(0) == b""
        response.close()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a\r\nx: y", []),
        ("/a b", []),
        ("a", []),
        ("/../admin", []),
        ("/x/%2E%2e/admin", []),
        ("/x/..", []),
        ("/a#b", []),
        ("/é", []),
        ("/a", [(b"x", b"1\r\ny: 2")]),
        ("/a", [(b"x", b"1\n")]),
        ("/a", [(b"x\r\ny", b"1")]),
        ("/a", [(b"x y", b"1")]),
        ("/a", [(b"", b"1")]),
        ("/a", [(b"x", b"\x00")]),
        ("/a", [(b"host", b"elsewhere")]),
        ("/a", [(b"Transfer-Encoding", b"chunked")]),
        ("/a", [(b"content-length", b"7")]),
    ],
)
async def test_refuses_what_would_break_out_of_its_line(kind: str, path: str, headers: Any) -> None:
    async with upstream(kind, answering()) as (transport, server):
        with pytest.raises(BadRequest):
            await transport.request("POST", path, headers, b"")
        with pytest.raises(BadRequest):
            await transport.request("GET /x HTTP/1.1\r\n", "/a", [], b"")
        assert server.connections == 0


@pytest.mark.parametrize("step", [1, 3, 1000])
async def test_chunked_however_it_is_cut_with_trailers(kind: str, step: int) -> None:
    extended = b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\nX-Last: 2\r\n\r\n"
    answer = CHUNKED + extended

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(*(answer[at : at + step] for at in range(0, len(answer), step)))

    async with upstream(kind, script) as (transport, server):
        for _ in range(2):
            response = await transport.request("POST", "/", [], b"")
            assert b"".join([piece async for piece in response.chunks()]) == b"abcde"
            assert list(response.headers) == [(b"transfer-encoding", b"chunked")]
            response.close()
        assert server.connections == 1


async def test_interim_answers_are_skipped(kind: str) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with upstream(kind, answering(interim + OK, interim + OK)) as (transport, server):
        assert await ask(transport) == b"ok"
        response = await transport.request("POST", "/", [], b"")
        assert list(response.headers) == [(b"content-length", b"2")]
        response.close()
        assert server.connections == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_a_body_that_ends_with_the_connection(kind: str, head: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head, b"so", b"me")

    async with upstream(kind, script) as (transport, server):
        assert await ask(transport) == b"some"
        assert await ask(transport) == b"some"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        ("HEAD", CHUNKED),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(kind: str, method: str, answer: bytes) -> None:
    async with upstream(kind, answering(answer, OK)) as (transport, _):
        assert await ask(transport, b"", method=method) == b""
        assert await ask(transport) == b"ok"


async def test_connections_are_kept_and_closed_as_the_upstream_says(kind: str) -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    old = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with upstream(kind, answering(OK, OK, closing, old, OK)) as (transport, server):
        seen = []
        for _ in range(5):
            assert await ask(transport) == b"ok"
            seen.append(server.connections)
        assert seen == [1, 1, 1, 2, 3]


async def test_a_stale_connection_is_replaced_once(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await peer.request()  # and no answer

    async with upstream(kind, script) as (transport, server):
        assert await ask(transport) == b"ok"
        assert await ask(transport) == b"ok"
        assert server.connections == 2


async def test_a_connection_closed_while_idle_is_not_used(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    async with upstream(kind, script) as (transport, server):
        for _ in range(3):
            assert await ask(transport, pieces(b"not", b"again")) == b"ok"
            await server.settle()
            await asyncio.sleep(0.01)  # let the end arrive: a body that cannot be sent again allows no race
        assert server.connections == 3


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 2"])
async def test_nothing_is_sent_again_that_may_have_been_paid_for(kind: str, begun: bytes) -> None:
    async def script(peer: Peer) -> None:
        if begun:
            await peer.request()
            await peer.send(OK)
        await peer.request()
        await peer.send(begun)

    async with upstream(kind, script) as (transport, server):
        if begun:
            assert await ask(transport) == b"ok"
        with pytest.raises((UpstreamCut, UpstreamGarbage)):
            await ask(transport)
        assert server.connections == 1


async def test_a_stream_is_not_sent_again(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    async with upstream(kind, script) as (transport, server):
        assert await ask(transport) == b"ok"
        with pytest.raises(UpstreamCut):
            await ask(transport, pieces(b"once"))
        assert server.connections == 1


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n", CHUNKED + b"9\r\nabc"],
)
async def test_a_cut_body(kind: str, answer: bytes, reset: bool) -> None:
    proceed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await proceed.wait()
        if reset:
            peer.reset()

    async with upstream(kind, script) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        body = response.chunks()
        assert await anext(body) == b"abc"
        proceed.set()
        with pytest.raises(UpstreamCut):
            await anext(body)
        response.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"1\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_garbage(kind: str, answer: bytes) -> None:
    async with upstream(kind, answering(answer)) as (transport, _):
        with pytest.raises(UpstreamGarbage) as caught:
            await ask(transport)
        assert "127.0.0.1" not in str(caught.value)
        assert "x-a" not in str(caught.value)


async def test_a_head_without_end_is_refused(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            await peer.send(b"y" * 8192)

    async with upstream(kind, script) as (transport, server):
        with pytest.raises(UpstreamGarbage):
            await ask(transport)
        await server.settle()


async def test_bytes_after_the_end_are_nobodys_answer(kind: str) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    async with upstream(kind, answering(OK + forged, OK)) as (transport, server):
        assert await ask(transport) == b"ok"
        assert await ask(transport) == b"ok"
        assert server.connections == 2


QUICK = Timeouts(connect_s=0.1, write_s=0.1, read_s=0.1)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 20", CHUNKED, CHUNKED + b"2\r\nok\r\n"])
async def test_silence_while_reading_is_a_timeout(kind: str, begun: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        await peer.gone()

    async with upstream(kind, script, QUICK) as (transport, server):
        with pytest.raises(UpstreamTimeout):
            await ask(transport)
        await server.settle()


@pytest.mark.parametrize("body", [None, b"x" * 30_000_000])
async def test_an_upstream_that_does_not_read_is_a_timeout(kind: str, body: bytes | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in endless():
            taken += len(piece)
            yield piece

    async with upstream(kind, script, QUICK) as (transport, _):
        with pytest.raises(UpstreamTimeout):
            await ask(transport, counted() if body is None else body)
        assert taken < 30_000_000  # what the kernel's buffers hold, and no more


async def test_no_connection_in_time_is_a_timeout(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()  # the client's hello, never answered

    async with serving(script) as server:
        transport = TRANSPORTS[kind](f"https://127.0.0.1:{server.port}", QUICK)
        with pytest.raises(UpstreamTimeout):
            await ask(transport)
        await transport.aclose()


async def test_nobody_there_is_unreachable(kind: str) -> None:
    async with serving(answering()) as server:
        port = server.port
    transport = TRANSPORTS[kind](f"http://127.0.0.1:{port}", PATIENT)
    with pytest.raises(UpstreamUnreachable) as caught:
        await ask(transport)
    assert str(port) not in str(caught.value)
    await transport.aclose()
    await transport.aclose()


@pytest.mark.parametrize(
    ("name", "trusted"), [("localhost", True), ("localhost", False), ("other.test", True)]
)
async def test_tls(kind: str, name: str, trusted: bool) -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    if trusted:
        authority.configure_trust(client_tls)
    async with serving(answering(OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n"), server_tls) as server:
        transport = TRANSPORTS[kind](f"https://localhost:{server.port}", PATIENT, tls=client_tls)
        if trusted and name == "localhost":
            assert await ask(transport) == b"ok"
            assert await ask(transport) == b"ok"
            assert server.connections == 1
        else:
            with pytest.raises(UpstreamUnreachable):
                await ask(transport)
        await transport.aclose()
        await asyncio.sleep(0.01)  # TLS says goodbye before the sockets close


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabcde",
    ],
)
async def test_a_body_over_the_limit(kind: str, answer: bytes) -> None:
    async with upstream(kind, answering(answer, OK)) as (transport, _):
        with pytest.raises(UpstreamTooLarge):
            await ask(transport, limit=4)
        assert await ask(transport, limit=2) == b"ok"


async def test_a_slow_reader_holds_the_upstream_back(kind: str) -> None:
    piece = b"z" * 65_536
    total = 400  # 26 MB, more than the kernel's buffers
    stalled = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (total * len(piece)))
        for _ in range(total):
            sending = asyncio.ensure_future(peer.send(piece))
            if not (await asyncio.wait({sending}, timeout=0.2))[0]:
                stalled.set()
            await sending
        await peer.gone()

    async with upstream(kind, script) as (transport, server):
        response = await transport.request("POST", "/", [], b"")
        await asyncio.wait_for(stalled.wait(), 10)
        size = 0
        async for chunk in response.chunks():
            size += len(chunk)
        assert size == total * len(piece)
        response.close()
        assert server.connections == 1


async def test_what_is_poured_comes_as_it_arrives(kind: str) -> None:
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"1\r\na\r\n")
        assert await seen.get() == b"a"
        await peer.send(b"2\r\nbc\r\n")
        assert await seen.get() == b"bc"
        await peer.send(b"1\r\nd\r\n0\r\n\r\n")
        await peer.gone()

    async with upstream(kind, script) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        await response.pour(seen.put_nowait)
        response.close()
        assert seen.get_nowait() == b"d"


async def test_a_sink_that_waits_holds_the_upstream_back(kind: str) -> None:
    piece = b"z" * 65_536
    total = 400  # 26 MB, more than the kernel's buffers
    stalled = asyncio.Event()
    size = 0

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (total * len(piece)))
        for _ in range(total):
            sending = asyncio.ensure_future(peer.send(piece))
            if not (await asyncio.wait({sending}, timeout=0.2))[0]:
                stalled.set()
            await sending
        await peer.gone()

    async def wait() -> None:
        await stalled.wait()

    def sink(data: bytes) -> Wait | None:
        nonlocal size
        size += len(data)
        return None if stalled.is_set() else wait

    async with upstream(kind, script) as (transport, server):
        response = await transport.request("POST", "/", [], b"")
        async with asyncio.timeout(10):
            await response.pour(sink)
        response.close()
        assert size == total * len(piece)
        assert server.connections == 1


async def test_what_a_sink_raises_ends_the_pouring(kind: str) -> None:
    proceed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"1\r\na\r\n")
        await proceed.wait()
        await peer.send(b"1\r\nb\r\n")
        await peer.gone()

    def sink(data: bytes) -> None:
        proceed.set()
        if b"b" in data:
            raise LookupError(data)

    async with upstream(kind, script) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        with pytest.raises(LookupError):
            await response.pour(sink)
        response.close()


@pytest.mark.parametrize("begun", [b"", b"1\r\na\r\n"])
async def test_a_cut_while_pouring(kind: str, begun: bytes) -> None:
    seen = []
    async with upstream(kind, cutting(begun)) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        with pytest.raises(UpstreamCut):
            await response.pour(seen.append)
        response.close()
    assert b"".join(seen) == begun[3:4]


async def test_cancelling_while_pouring_drops_the_connection(kind: str) -> None:
    poured, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"1\r\na\r\n")
        await peer.gone()
        gone.set()

    async with upstream(kind, script) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        pouring = asyncio.ensure_future(response.pour(lambda _: poured.set()))
        await poured.wait()
        pouring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pouring
        response.close()
        await asyncio.wait_for(gone.wait(), 10)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
async def test_bodies_of_bytes_and_of_pieces_arrive(kind: str, size: int) -> None:
    async def script(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n%010d" % zlib.crc32(body))

    body = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    checksum = b"%010d" % zlib.crc32(body)
    halves = body[: size // 2], body[size // 2 :]
    async with upstream(kind, script) as (transport, server):
        assert await ask(transport, body) == checksum
        assert await ask(transport, pieces(*halves, b"")) == checksum
        assert await ask(transport, body) == checksum
        assert server.connections == 1


async def test_an_answer_before_the_upload_has_ended(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await peer.gone()

    async with upstream(kind, script) as (transport, server):
        response = await transport.request("POST", "/", [], endless(1024))
        assert response.status == 413
        assert await response.read(LIMIT) == b"no"
        response.close()
        await transport.aclose()
        await server.settle()


async def test_a_body_that_fails_ends_the_request(kind: str) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError("the client is gone")

    async def script(peer: Peer) -> None:
        assert not (await peer.gone()).endswith(b"0\r\n\r\n")

    async with upstream(kind, script) as (transport, server):
        with pytest.raises(KeyError):
            await ask(transport, failing())
        await server.settle()


@pytest.mark.parametrize("begun", [b"", CHUNKED, CHUNKED + b"2\r\nok\r\n"])
async def test_cancelling_drops_the_connection(kind: str, begun: bytes) -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        asked.set()
        await peer.gone()

    async with upstream(kind, script) as (transport, server):
        asking = asyncio.ensure_future(ask(transport))
        await asked.wait()
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.settle()


async def test_closing_early_cancels_at_the_upstream(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nok\r\n")
        await peer.gone()

    async with upstream(kind, script) as (transport, server):
        response = await transport.request("POST", "/", [], b"")
        assert await anext(response.chunks()) == b"ok"
        response.close()
        response.close()
        await server.settle()
        with pytest.raises(UpstreamCut):
            await response.read(LIMIT)


async def test_many_requests_at_once(kind: str) -> None:
    async def script(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async with upstream(kind, script) as (transport, server):
        for _ in range(3):
            bodies = [b"%d" % n * n for n in range(1, 33)]
            assert await asyncio.gather(*(ask(transport, body) for body in bodies)) == bodies
        assert server.connections <= 32


async def test_workers_that_share_connections_get_their_own_answers(kind: str) -> None:
    async def script(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def worker(transport: Transport, name: int) -> None:
        for turn in range(40):
            body = b"%d of %d" % (turn, name)
            assert await ask(transport, body) == body

    async with upstream(kind, script) as (transport, server):
        await asyncio.gather(*(worker(transport, name) for name in range(8)))
        assert server.connections <= 8


def _coded(coding: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nX: 1\r\nContent-Length: %d\r\n\r\n"
    return head % (coding, len(body)) + body


def _bare(body: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-15)
    return deflating.compress(body) + deflating.flush()


@pytest.mark.parametrize("size", [0, 10, 65_536, 500_000])
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", gzip.compress),
        (b"GZIP", lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:])),
        (b"deflate", zlib.compress),
        (b"deflate", _bare),
    ],
)
async def test_compressed_bodies_are_read(kind: str, coding: bytes, encode: Any, size: int) -> None:
    body = b"a" * size
    async with upstream(kind, answering(_coded(coding, encode(body)))) as (transport, _):
        response = await transport.request("POST", "/", [], b"")
        assert list(response.headers) == [(b"x", b"1")]
        assert await response.read(size) == body
        response.close()


async def test_compressed_bodies_are_no_way_around_the_checks(kind: str) -> None:
    whole = gzip.compress(b"a" * 10_000_000)
    answers = (
        _coded(b"gzip", whole),
        _coded(b"gzip", whole[:-9]),
        _coded(b"gzip", b"not gzip"),
        _coded(b"deflate", zlib.compress(b"a") + b"more"),
        _coded(b"br", b"as it is"),
    )
    async with upstream(kind, answering(*answers)) as (transport, _):
        for error, limit in (
            (UpstreamTooLarge, LIMIT),
            (UpstreamCut, 10_000_000),
            (UpstreamGarbage, LIMIT),
            (UpstreamGarbage, LIMIT),
        ):
            with pytest.raises(error):
                await ask(transport, limit=limit)
        response = await transport.request("POST", "/", [], b"")
        assert dict(response.headers)[b"content-encoding"] == b"br"
        assert await response.read(LIMIT) == b"as it is"
        response.close()


async def test_closing_the_transport_closes_its_connections(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with upstream(kind, script) as (transport, server):
        assert await ask(transport) == b"ok"
        await transport.aclose()
        await server.settle()
