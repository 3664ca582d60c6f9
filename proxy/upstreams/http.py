"""Upstreams that speak OpenAI's format: called directly, with credentials, retries and errors in one shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import UNREADABLE, UpstreamError, UpstreamGarbage, UpstreamStatus, without_credentials
from proxy.surfaces.contract import VendorError
from proxy.upstreams.abilities import Abilities
from proxy.upstreams.retry import retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from proxy.upstreams.attempts import Attempts
    from proxy.upstreams.transport import Response, Transport

#: The headers that carry the trace of the request under way to an upstream.
TraceContext = Callable[[], "Sequence[tuple[bytes, bytes]]"]

_JSON_HEADERS = (
    (b"content-type", b"application/json"),
    # What is read must come unpacked; packing it again for the client would cost more than it saves.
    (b"accept-encoding", b"identity"),
)
#: What a server of OpenAI's format speaks, if the configuration does not say.
HTTP_FORMATS = ("chat", "completions", "responses")
#: Anthropic's API wants the version of its format named, and a key in a header of its own.
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")
#: RFC 9111 section 5.2.1.4: a cache must not answer without asking the server.
_FRESH = ((b"cache-control", b"no-cache"),)
#: Nor are they passed on: a client would be told where the upstream is, and might take its key elsewhere.
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
#: No vendor's error is longer; what is longer is cut, not kept in memory.
_ERROR_BYTES = 65_536


class _ErrorBody(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    message: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must never stand in a message that leaves the proxy."""

    api_key: str | None
    authority: str

    def redact(self, text: str) -> str:
        """``text`` without keys and without the upstream's address."""
        host = self.authority.partition(":")[0]
        for secret in (self.api_key, self.authority, host if "." in host else None):
            if secret:
                text = text.replace(secret, "[redacted]")
        return without_credentials(text)


class HttpUpstream:
    """One upstream over HTTP."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        secrets: Secrets,
        forwards_credentials: bool,
        gives_logprobs: bool,
        attempts: Attempts,
        formats: Iterable[str] = HTTP_FORMATS,
        context: TraceContext | None = None,
    ) -> None:
        self.name = name
        self.forwards_credentials = forwards_credentials
        self.gives_logprobs = gives_logprobs
        self.formats = set(formats)
        self._context = context
        self.abilities = Abilities()
        self._transport = transport
        self._secrets = secrets
        self._attempts = attempts
        self._headers: tuple[tuple[bytes, bytes], ...] = _JSON_HEADERS
        if secrets.api_key is not None:
            self._headers += ((b"authorization", b"Bearer " + secrets.api_key.encode()),)
        if "messages" in self.formats:
            self._headers += (_ANTHROPIC_VERSION,)
            if secrets.api_key is not None:
                self._headers += ((b"x-api-key", secrets.api_key.encode()),)

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Ask for a completion, again where that may help and nothing was generated."""
        headers = self._headers + _FRESH if fresh else self._headers
        if self.forwards_credentials and credentials is not None:
            headers += ((b"authorization", credentials),)
        if self._context is not None:
            headers += tuple(self._context())
        return await self._attempts.run(partial(self._once, path, headers, body))

    async def _once(self, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Response:
        response = await self._transport.request("POST", path, headers, body)
        if 200 <= response.status < 300:
            return response
        try:
            raise await self._error(response)
        finally:
            response.close()

    async def _error(self, response: Response) -> UpstreamError:
        if response.status < 400:
            return _redirected(response)
        error = _read_error(await _read_start(response, _ERROR_BYTES))
        message = error.message or f"the upstream answered {response.status}"
        return UpstreamStatus(
            self._secrets.redact(message),
            status=response.status,
            type=error.type,
            param=error.param,
            code=error.code_text,
            retry_after_s=retry_after(response.headers),
        )

    async def relay(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        credentials: bytes | None,
    ) -> Response:
        """Pass a request on as it is."""
        sent = list(headers)
        if self._secrets.api_key is not None:
            sent.append((b"authorization", b"Bearer " + self._secrets.api_key.encode()))
        elif self.forwards_credentials and credentials is not None:
            sent.append((b"authorization", credentials))
        response = await self._transport.request(method, path, sent, body)
        if response.status in _REDIRECTS:
            response.close()
            raise _redirected(response)
        return response

    def redact(self, text: str) -> str:
        """``text`` without what must not leave the proxy."""
        return self._secrets.redact(text)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._transport.aclose()


def _redirected(response: Response) -> UpstreamError:
    return UpstreamGarbage(f"the upstream answered {response.status}; redirects are not followed")


async def _read_start(response: Response, limit: int) -> bytes:
    start = bytearray()
    async for chunk in response.chunks():
        start += chunk
        if len(start) >= limit:
            break
    return bytes(start)


def _read_error(body: bytes) -> VendorError:
    """The error of a vendor's body, in any of the shapes met: an object, a string, ``message``, ``detail``."""
    try:
        read = msgspec.json.decode(body, type=_ErrorBody)
    except UNREADABLE:
        return VendorError()
    try:
        error = msgspec.json.decode(read.error, type=VendorError | str | None)
    except UNREADABLE:
        error = None
    if isinstance(error, str):
        return VendorError(message=error)
    if error is None or error.message is None:
        return VendorError(message=read.message or read.detail)
    return error
