"""The HTTP/1.1 transport: renders a request into one write and sends it on a pooled connection."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from proxy.upstreams.encoding import decoded
from proxy.upstreams.heads import header_lines, request_target
from proxy.upstreams.http1.connection import StaleConnection
from proxy.upstreams.http1.pool import ConnectionPool, PoolLimits
from proxy.upstreams.origin import Origin
from proxy.upstreams.transport import SLICE_BYTES, Timeouts, slices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.upstreams.http1.response import Http1Response
    from proxy.upstreams.transport import Response

#: Methods for which an absent body needs no content-length (RFC 9110 section 8.6).
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})


def make_transport(
    base_url: str,
    timeouts: Timeouts | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    limits: PoolLimits | None = None,
) -> Http1Transport:
    """Return a transport to ``base_url``; connections are opened by the first requests.

    ``tls`` is the context for an https URL, by default the system's certificates (``SSL_CERT_FILE`` is honoured).
    Raises ConfigError for an unusable URL.
    """
    origin = Origin.parse(base_url)
    context = tls
    if context is None and origin.tls:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
    return Http1Transport(
        origin, timeouts or Timeouts(), context if origin.tls else None, limits or PoolLimits()
    )


class Http1Transport:
    """A ``Transport`` over HTTP/1.1; its connections belong to the event loop that opened them."""

    __slots__ = ("_constant", "_origin", "_pool")

    def __init__(
        self, origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, limits: PoolLimits
    ) -> None:
        self._origin = origin
        self._pool = ConnectionPool(origin, timeouts, tls, limits)
        self._constant = b" HTTP/1.1\r\nhost: " + origin.authority.encode("ascii") + b"\r\n"

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Response:
        """Send a request and wait for the head of its response; see ``Transport.request``."""
        head = (
            f"{method} {request_target(self._origin, method, path)}".encode("ascii")
            + self._constant
            + header_lines(headers)
        )
        response = await self._send(method, head, body)
        return response if method == "HEAD" else decoded(response)

    async def _send(self, method: str, head: bytes, body: bytes | AsyncIterator[bytes]) -> Http1Response:
        bodiless = method == "HEAD"
        if not isinstance(body, bytes):
            head += b"transfer-encoding: chunked\r\n\r\n"
            connection = self._pool.take() or await self._pool.connect()
            return await connection.exchange(head, body, chunked=True, bodiless=bodiless)
        if body or method not in _WITHOUT_BODY:
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
            except StaleConnection:
                pass  # The upstream closed the idle connection before it sent any byte of a response.
        connection = await self._pool.connect()
        pieces = None if short else slices(body)
        return await connection.exchange(head, pieces, chunked=False, bodiless=bodiless)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()
