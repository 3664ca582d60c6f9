"""Decompression of response bodies, for upstreams that compress although the request asks for ``identity``.

Supported are gzip and deflate (RFC 9110 section 8.4.1). A body in another coding is left unchanged, with its header:
it can be passed through, and a reader fails because it is not JSON.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from proxy.exceptions import UpstreamCut, UpstreamGarbage, UpstreamTooLarge
from proxy.upstreams.transport import pour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from proxy.server.asgi import Push
    from proxy.upstreams.transport import Response

#: The largest piece that is decompressed at once: deflate expands up to 1032 times, which must not fill the memory.
PIECE_BYTES: Final = 65_536
_GZIP_WBITS: Final = zlib.MAX_WBITS | 16
_CODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
#: Headers that describe the compressed body only.
_WIRE_HEADERS: Final = frozenset({b"content-encoding", b"content-length"})


def decoded(response: Response) -> Response:
    """Return a response that decompresses a gzip or deflate body, or ``response`` itself for other codings."""
    for name, value in response.headers:
        if name == b"content-encoding":
            coding = value.strip().lower()
            return DecodedResponse(response, coding) if coding in _CODINGS else response
    return response


class DecodedResponse:
    """A response whose body is decompressed while it is read, at most one piece ahead of the reader."""

    __slots__ = ("_coding", "_response", "headers", "status")

    def __init__(self, response: Response, coding: bytes) -> None:
        self._response = response
        self._coding = coding
        self.status = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = [
            (name, value) for name, value in response.headers if name not in _WIRE_HEADERS
        ]

    async def read(self, limit: int) -> bytes:
        return await read_whole(self, limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        inflater = _Inflater(self._coding)
        try:
            async for chunk in self._response.chunks():
                for piece in inflater.feed(chunk):
                    yield piece
        except zlib.error as error:
            self.close()
            raise UpstreamGarbage("the upstream's compressed body cannot be read") from error
        if not inflater.complete:
            raise UpstreamCut("the upstream's compressed body ends too early")

    async def pour(self, sink: Push) -> None:
        await pour(self.chunks(), sink)

    def close(self) -> None:
        self._response.close()


async def read_whole(response: Response, limit: int) -> bytes:
    """Return the body of ``response``; beyond ``limit`` bytes, closes it and raises UpstreamTooLarge."""
    pieces = []
    size = 0
    async for piece in response.chunks():
        size += len(piece)
        if size > limit:
            response.close()
            raise too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


def too_large(limit: int) -> UpstreamTooLarge:
    """Return the error for a body over ``limit`` bytes."""
    return UpstreamTooLarge(f"the upstream's answer is larger than {limit} bytes")


class _Inflater:
    """A streaming decompressor that also accepts deflate without the zlib wrapper and several gzip members."""

    __slots__ = ("_gzip", "_zlib")

    def __init__(self, coding: bytes) -> None:
        self._gzip = coding != b"deflate"
        self._zlib: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        return self._zlib is None or self._zlib.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        # After a full piece, zlib may hold further output although all input is consumed.
        while data or len(piece) == PIECE_BYTES:
            if self._zlib is None or (self._zlib.eof and self._gzip and data):
                self._zlib = zlib.decompressobj(self._wbits(data))
            elif self._zlib.eof and data:
                raise zlib.error("bytes after the end")
            piece = self._zlib.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail

    def _wbits(self, data: bytes) -> int:
        if self._gzip:
            return _GZIP_WBITS
        # "deflate" means the zlib format, but some servers send the raw stream. The first byte of the zlib format
        # has 8 in its low four bits (RFC 1950 section 2.2); raw streams from encoders do not.
        return zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
