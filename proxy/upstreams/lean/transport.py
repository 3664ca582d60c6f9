"""The lean transport: a request rendered into one write, and the pool behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.upstreams.encoding import decoded
from proxy.upstreams.heads import header_lines, request_target
from proxy.upstreams.lean.connection import Stale
from proxy.upstreams.lean.pool import Pool
from proxy.upstreams.transport import SLICE_BYTES, slices

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from proxy.upstreams.lean.response import LeanResponse
    from proxy.upstreams.origin import Origin
    from proxy.upstreams.transport import Response, Timeouts


class LeanTransport:
    """See ``Transport``; connections belong to the loop that runs while they are used."""

    __slots__ = ("_constant", "_origin", "_pool")

    def __init__(
        self, origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, max_connections: int
    ) -> None:
        self._origin = origin
        self._pool = Pool(origin, timeouts, tls, max_connections)
        self._constant = b" HTTP/1.1\r\nhost: " + origin.authority.encode("ascii") + b"\r\n"

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Response:
        head = (
            f"{method} {request_target(self._origin, method, path)}".encode("ascii")
            + self._constant
            + header_lines(headers)
        )
        response = await self._send(method, head, body)
        return response if method == "HEAD" else decoded(response)

    async def _send(self, method: str, head: bytes, body: bytes | AsyncIterator[bytes]) -> LeanResponse:
        bodiless = method == "HEAD"
        if not isinstance(body, bytes):
            head += b"transfer-encoding: chunked\r\n\r\n"
            connection = self._pool.take() or await self._pool.connect()
            return await connection.exchange(head, body, chunked=True, bodiless=bodiless)
        if body or method not in _BODILESS:
            head += b"content-length: %d\r\n\r\n" % len(body)
        else:
            head += b"\r\n"
        short = len(body) <= SLICE_BYTES
        if short:
            head += body
        pooled = self._pool.take()
        if pooled is not None:
            pieces = None if short else slices(body)
            try:
                return await pooled.exchange(head, pieces, chunked=False, bodiless=bodiless)
            except Stale:
                pass  # closed by the peer while idle; nothing of the answer came
        connection = await self._pool.connect()
        pieces = None if short else slices(body)
        return await connection.exchange(head, pieces, chunked=False, bodiless=bodiless)

    async def aclose(self) -> None:
        await self._pool.aclose()


#: Methods for which an absent body needs no content-length (RFC 9110 section 8.6).
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
