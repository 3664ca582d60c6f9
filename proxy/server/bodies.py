"""Reading and writing the JSON bodies of requests and answers: within limits, and large ones in the worker thread."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from proxy.config import Server
from proxy.server import asgi
from proxy.server.body_thread import LARGE, PACE, BodyThread, pause, prefault
from proxy.server.json_budget import check_answer, check_event, check_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.server.asgi import Headers, Push, Receive, Wait

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: The size in bytes from which an answer counts as large. Text is cheaper to read than an answer with logprobs, which
#: has 500 bytes for each token with five alternatives.
LARGE_ANSWER: Final = 250_000
#: A shorter answer, from this size on, is large if it has this many objects: ten times what one with logprobs has.
_MAY_BE_DENSE, _DENSE = 65_536, 8_000
#: Bytes of memory for each byte of JSON that is decoded: four for a text with one character beyond U+FFFF, and half as
#: much again for the copy of a text with escapes. For each byte that is encoded: buffers grow by halves.
_DECODING, _ENCODING = 6, 2
#: How many bytes of a stream are read at a time: some 200 events, or ten milliseconds at most.
PIECE: Final = 32_768


def is_large(answer: bytes | bytearray) -> bool:
    """Return whether an upstream's answer is large enough for the worker thread."""
    return len(answer) > LARGE_ANSWER or (len(answer) > _MAY_BE_DENSE and answer.count(b"{") > _DENSE)


def in_pieces(sink: Push) -> Push:
    """Wrap ``sink`` so that it gets at most ``PIECE`` bytes at a time, with a turn of the event loop in between."""

    async def push_pieces(data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            wait = sink(data[start : start + PIECE])
            await (asyncio.sleep(0) if wait is None else wait())

    # The two closures do not refer to themselves or to each other: no reference cycle keeps a stream's data alive.
    def push(data: bytes) -> Wait | None:
        return sink(data) if len(data) <= PIECE else partial(push_pieces, data)

    return push


class Bodies:
    """Reads and writes bodies within the server's limits: small ones directly, large ones in the worker thread."""

    def __init__(self, thread: BodyThread | None = None, server: Server | None = None) -> None:
        self._thread = BodyThread() if thread is None else thread
        self._server = Server() if server is None else server
        #: The most bytes that an upstream's answer may have.
        self.max_answer_bytes = self._server.max_answer_bytes

    async def receive(self, receive: Receive, headers: Headers) -> bytes:
        """Return a client's whole body; raises BodyTooLarge and ClientGone."""
        pieces, size = await asgi.read_pieces(receive, headers, self._server.max_body_bytes)
        return pieces[0] if len(pieces) == 1 else await self.on_request(size, b"".join, pieces)

    async def read_request(self, body: bytes, parse: Callable[[bytes], Result]) -> Result:
        """Parse a client's body; raises BodyTooLarge if that would take too long, and what ``parse`` raises."""
        return await self.on_request(len(body), self._parse, body, parse)

    def _parse(self, body: bytes, parse: Callable[[bytes], Result]) -> Result:
        check_request(body, self._server.max_body_strings)
        return parse(body)

    async def on_request(
        self, size: int, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call ``work`` on a request whose body has ``size`` bytes."""
        if size > LARGE:
            return await self._thread.run(work, *args, **kwargs)
        return work(*args, **kwargs)

    async def read_answer(
        self,
        body: bytes,
        read: Callable[Concatenate[bytes, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Read an upstream's answer; raises UpstreamTooLarge if that would take too long, and what ``read`` raises."""
        if is_large(body):
            return await self._thread.run(self._read_large, partial(read, body, *args, **kwargs), body)
        return read(body, *args, **kwargs)

    def _read_large(self, read: Callable[[], Result], body: bytes) -> Result:
        check_answer(body, self._server.max_answer_strings)
        prefault(_DECODING * len(body))
        return read()

    async def on_answer(
        self,
        answer: bytes | int,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call ``work`` on an upstream's answer, which is given as its bytes or as their number."""
        if answer > LARGE_ANSWER if isinstance(answer, int) else is_large(answer):
            return await self._thread.run(work, *args, **kwargs)
        return work(*args, **kwargs)


# JSON of any size, wherever the work runs


def decode(decoder: msgspec.json.Decoder[Result], data: bytes | msgspec.Raw) -> Result:
    """Decode JSON. In the worker thread, map the memory first and let the event loop run afterwards."""
    if PACE.get() is None:
        return decoder.decode(data)
    prefault(_DECODING * len(memoryview(data)))
    value = decoder.decode(data)
    pause()
    return value


def encode(value: Any, size: int) -> bytes:
    """Encode ``value``, which takes about ``size`` bytes as JSON; see ``decode``."""
    if PACE.get() is None:
        return msgspec.json.encode(value)
    pause()
    prefault(_ENCODING * size)
    encoded = msgspec.json.encode(value)
    pause()
    return encoded


def encode_text(text: str) -> bytes:
    """Encode a text as UTF-8; see ``decode``."""
    prefault(_ENCODING * len(text))
    encoded = text.encode()
    pause()
    return encoded


def decode_text(pieces: list[bytes]) -> str:
    """Join and decode pieces of UTF-8, with U+FFFD for what is not UTF-8; see ``decode``."""
    prefault(_ENCODING * sum(map(len, pieces)))
    return b"".join(pieces).decode(errors="replace")


def encode_fields(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """Encode an object from its encoded fields.

    In the worker thread the values are copied piece by piece, and joined by ``bytes.join``, which copies large pieces
    without the interpreter lock.
    """
    if PACE.get() is None:
        return msgspec.json.encode(fields)
    pieces: list[bytes] = []
    for name, value in fields.items():
        pieces += (b",", msgspec.json.encode(name), b":")
        view = memoryview(value)
        for start in range(0, len(view), LARGE):
            pieces.append(bytes(view[start : start + LARGE]))
            pause()
    return b"".join([b"{", *pieces[1:], b"}"])


def check_utf8(body: bytes) -> None:
    """Raise UnicodeDecodeError if ``body`` is not UTF-8; msgspec does not check what it takes over as ``Raw``.

    The body is checked in pieces: decoded whole, one character beyond U+FFFF would make every other character take
    four bytes of memory.
    """
    if body.isascii():
        return
    start = 0
    while start < len(body):
        end = start + LARGE
        for _ in range(3):
            if b"\x80" <= body[end : end + 1] < b"\xc0":
                end -= 1  # back to the start of a character
        try:
            str(memoryview(body)[start:end], "utf-8")
        except UnicodeDecodeError as exc:
            raise UnicodeDecodeError("utf-8", body, start + exc.start, start + exc.end, exc.reason) from None
        start = end
        pause()


def is_at(body: bytes, place: int, value: msgspec.Raw) -> bool:
    """Return whether ``value`` is at ``place`` of ``body``; a large value is compared in pieces."""
    view = memoryview(value)
    if len(view) <= LARGE:
        return body.startswith(bytes(view), place)
    for start in range(0, len(view), LARGE):
        if not body.startswith(bytes(view[start : start + LARGE]), place + start):
            return False
        pause()
    return True


def check_stream_event(payload: bytes) -> None:
    """Raise UpstreamTooLarge if one event of a stream would take too long to read."""
    if is_large(payload):
        check_event(payload)
