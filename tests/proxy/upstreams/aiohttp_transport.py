"""A transport on aiohttp: the oracle that the tests compare the product's transport with.

It cannot detect two things that ``proxy.upstreams.http1`` can: a reset at the end of a body without a length, and
bytes that an upstream sends on an idle connection, which aiohttp takes for the next response.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import http_exceptions
from yarl import URL

from proxy.exceptions import (
    BadRequest,
    UpstreamCut,
    UpstreamError,
    UpstreamGarbage,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstreams.encoding import decoded, read_whole
from proxy.upstreams.heads import MAX_HEAD_BYTES, MAX_HEADERS, check_framing, header_lines, request_target
from proxy.upstreams.http1 import PoolLimits
from proxy.upstreams.origin import Origin
from proxy.upstreams.transport import SLICE_BYTES, Timeouts, pour, slices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from types import SimpleNamespace

    from proxy.server.asgi import Push
    from proxy.upstreams.transport import Response

#: Most specific first.
_ERRORS: Final[tuple[tuple[type[Exception], type[UpstreamError], str], ...]] = (
    (aiohttp.ConnectionTimeoutError, UpstreamTimeout, "the upstream could not be reached in time"),
    (TimeoutError, UpstreamTimeout, "the upstream did not answer in time"),
    (aiohttp.ClientSSLError, UpstreamUnreachable, "the upstream's TLS certificate or handshake was refused"),
    (aiohttp.ClientConnectorError, UpstreamUnreachable, "the upstream cannot be reached"),
    (aiohttp.ClientConnectionError, UpstreamCut, "the upstream closed the connection before it had answered"),
    (aiohttp.ClientPayloadError, UpstreamGarbage, "the upstream's answer is not HTTP"),
    (aiohttp.ClientError, UpstreamGarbage, "the upstream's answer is not HTTP"),
    (http_exceptions.HttpProcessingError, UpstreamGarbage, "the upstream's answer is not HTTP"),
)
_FOREIGN: Final = tuple(foreign for foreign, _, _ in _ERRORS)
#: Errors of aiohttp's parser for a body that ended too early; its other body errors mean invalid HTTP.
_CUT_CAUSES: Final = (http_exceptions.ContentLengthError, http_exceptions.TransferEncodingError)


def make_aiohttp_transport(
    base_url: str,
    timeouts: Timeouts | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    limits: PoolLimits | None = None,
) -> AiohttpTransport:
    """Return a transport to ``base_url``; raises ConfigError for an unusable URL."""
    origin = Origin.parse(base_url)
    context = (tls or ssl.create_default_context()) if origin.tls else None
    return AiohttpTransport(origin, timeouts or Timeouts(), context, limits or PoolLimits())


class AiohttpTransport:
    """A ``Transport`` over an aiohttp session, which the first request creates inside the running loop."""

    __slots__ = ("_limits", "_origin", "_root", "_session", "_timeouts", "_tls")

    def __init__(
        self, origin: Origin, timeouts: Timeouts, tls: ssl.SSLContext | None, limits: PoolLimits
    ) -> None:
        self._limits = limits
        self._origin = origin
        self._timeouts = timeouts
        self._tls = tls
        self._root = f"{'https' if origin.tls else 'http'}://{origin.authority}"
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Response:
        url = URL(self._root + request_target(self._origin, method, path), encoded=True)
        lines = _text(headers)
        attempt = _Attempt(self._timeouts.write_s)
        try:
            response = await self._send(method, url, lines, body, attempt)
        except UpstreamCut as error:
            if not (attempt.reused and isinstance(body, bytes) and _nothing_came(error.__cause__)):
                raise
            response = await self._send(method, url, lines, body, _Attempt(self._timeouts.write_s))
        try:
            if response.status < 200:
                raise UpstreamGarbage("the upstream wants another protocol")
            check_framing(response.headers)
        except UpstreamGarbage:
            response.close()
            raise
        return response if method == "HEAD" else decoded(response)

    async def _send(
        self,
        method: str,
        url: URL,
        lines: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes],
        attempt: _Attempt,
    ) -> _AiohttpResponse:
        data: bytes | AsyncIterator[bytes] | None
        if not isinstance(body, bytes):
            data = attempt.paced(body)
        elif len(body) > SLICE_BYTES:
            lines = [*lines, ("content-length", str(len(body)))]
            data = attempt.paced(slices(body))
        else:
            data = body or None
        with _mapped():
            try:
                async with attempt.scope:
                    answer = await self._open().request(
                        method,
                        url,
                        headers=lines,
                        data=data,
                        allow_redirects=False,
                        trace_request_ctx=attempt,
                    )
            except aiohttp.ClientConnectionError:
                # Raise the error of the request body itself, which aiohttp wraps.
                if attempt.failure is not None:
                    raise attempt.failure from None
                raise
            finally:
                attempt.over = True
        return _AiohttpResponse(answer)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeouts = self._timeouts
            connector = aiohttp.TCPConnector(  # sets TCP_NODELAY itself
                limit=self._limits.max_connections,
                keepalive_timeout=self._limits.idle_s,
                ssl=True if self._tls is None else self._tls,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=timeouts.connect_s,
                    sock_connect=timeouts.connect_s,
                    sock_read=timeouts.read_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
                max_line_size=MAX_HEAD_BYTES,
                max_field_size=MAX_HEAD_BYTES,
                max_headers=MAX_HEADERS,
                trace_configs=[_reuse_trace()],
            )
        return self._session

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _AiohttpResponse:
    """A ``Response`` over an aiohttp response."""

    __slots__ = ("_answer", "headers", "status")

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers: Sequence[tuple[bytes, bytes]] = [
            (name.lower(), value) for name, value in answer.raw_headers
        ]

    async def read(self, limit: int) -> bytes:
        return await read_whole(self, limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._answer.content
        with _mapped():
            try:
                while chunk := await content.readany():
                    yield chunk
            except BaseException:
                self._answer.close()
                raise

    async def pour(self, sink: Push) -> None:
        await pour(self.chunks(), sink)

    def close(self) -> None:
        self._answer.close()


class _Attempt:
    """One attempt to send a request: its write timeout, and whether it used a pooled connection."""

    __slots__ = ("_write_s", "failure", "over", "reused", "scope")

    def __init__(self, write_s: float) -> None:
        self._write_s = write_s
        self.scope = asyncio.timeout(None)
        self.reused = False
        self.over = False
        self.failure: Exception | None = None

    async def paced(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield ``pieces`` with a write timeout for each, which aiohttp itself does not offer."""
        loop = asyncio.get_running_loop()
        try:
            async for piece in pieces:
                self._limit(loop.time() + self._write_s)
                yield piece
                self._limit(None)
        except Exception as error:
            self.failure = error
            raise

    def _limit(self, when: float | None) -> None:
        # An upstream may respond before it has read the whole body: the scope is closed then and writing continues.
        if not self.over:
            self.scope.reschedule(when)


def _reuse_trace() -> aiohttp.TraceConfig:
    async def note(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note)
    return trace


def _text(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    header_lines(headers)
    try:
        return [(name.decode("ascii"), value.decode()) for name, value in headers]
    except UnicodeDecodeError:
        raise BadRequest("a header is not UTF-8") from None


def _nothing_came(error: BaseException | None) -> bool:
    # A message that is not text is a part of a head that was received. A reset instead of an end occurs where the
    # request and the close crossed; aiohttp does not say what was received before a reset.
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    return isinstance(error, ConnectionError)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except _FOREIGN as error:
        if isinstance(error, aiohttp.ClientPayloadError) and isinstance(error.__cause__, _CUT_CAUSES):
            raise UpstreamCut("the upstream's answer was cut off") from error
        for foreign, ours, message in _ERRORS:
            if isinstance(error, foreign):
                raise ours(message) from error
        raise
