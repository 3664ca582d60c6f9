"""An upstream over HTTP in OpenAI's or Anthropic's format: credentials, retries, and errors in one form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from proxy.exceptions import UpstreamError, UpstreamGarbage, UpstreamStatus
from proxy.surfaces.contract import VendorError
from proxy.surfaces.vendor_errors import read_error
from proxy.upstreams.abilities import Abilities
from proxy.upstreams.probes import Prober
from proxy.upstreams.retry import retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from proxy.upstreams.attempts import Attempts
    from proxy.upstreams.secrets import Secrets
    from proxy.upstreams.transport import Response, Transport

#: Returns the headers that carry the current request's trace to an upstream.
TraceContext = Callable[[], "Sequence[tuple[bytes, bytes]]"]

_JSON_HEADERS = (
    (b"content-type", b"application/json"),
    # The proxy reads the body: compressing it again for the client would cost more than it saves.
    (b"accept-encoding", b"identity"),
)
#: The formats of a server without ``formats`` in its configuration.
HTTP_FORMATS = ("chat", "completions", "responses")
#: Anthropic's API requires the version of its format, and the key in the header x-api-key.
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")
#: RFC 9111 section 5.2.1.4: a cache must not answer without asking the server.
_FRESH = ((b"cache-control", b"no-cache"),)
#: Redirects are neither followed nor passed on: a client would learn the upstream's address.
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
#: Bytes of an error body that are read; known vendors send less.
_ERROR_BYTES = 65_536


class HttpUpstream:
    """An ``UpstreamClient`` over HTTP."""

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
        probe = None if forwards_credentials else Prober(self.post).probe
        self.abilities = Abilities(name, attempts.metrics, probe=probe)
        self._transport = transport
        self._secrets = secrets
        self._attempts = attempts
        self._keys = _key_headers(secrets.api_key, self.formats)
        self._headers: tuple[tuple[bytes, bytes], ...] = _JSON_HEADERS + self._keys
        if "messages" in self.formats:
            self._headers += (_ANTHROPIC_VERSION,)

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Request a completion, and retry where a retry may succeed and cannot be charged twice."""
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
        body = await _read_start(response, _ERROR_BYTES)
        error = read_error(body) or VendorError()
        message = error.message or f"the upstream answered {response.status}"
        failure = UpstreamStatus(
            self._secrets.redact(message),
            status=response.status,
            type=error.type,
            param=error.param,
            code=error.code_text,
            retry_after_s=retry_after(response.headers),
        )
        return (
            failure
            if error.message
            else failure.beginning_with(self._secrets.redact(body.decode(errors="replace")).encode())
        )

    async def relay(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        credentials: bytes | None,
    ) -> Response:
        """Pass a request through unchanged, once."""
        sent = [*headers, *self._keys]
        if self.forwards_credentials and credentials is not None:
            sent.append((b"authorization", credentials))
        if "messages" in self.formats and not any(name == _ANTHROPIC_VERSION[0] for name, _ in headers):
            sent.append(_ANTHROPIC_VERSION)
        response = await self._transport.request(method, path, sent, body)
        if response.status in _REDIRECTS:
            response.close()
            raise _redirected(response)
        return response

    def redact(self, text: str) -> str:
        """Return ``text`` without the upstream's key and address."""
        return self._secrets.redact(text)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.abilities.aclose()
        await self._transport.aclose()


def _key_headers(api_key: str | None, formats: set[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers with the proxy's own key: Anthropic's API reads another header than OpenAI's."""
    if api_key is None:
        return ()
    key = api_key.encode()
    bearer = ((b"authorization", b"Bearer " + key),)
    return (*bearer, (b"x-api-key", key)) if "messages" in formats else bearer


def _redirected(response: Response) -> UpstreamError:
    return UpstreamGarbage(f"the upstream answered {response.status}; redirects are not followed")


async def _read_start(response: Response, limit: int) -> bytes:
    start = bytearray()
    async for chunk in response.chunks():
        start += chunk
        if len(start) >= limit:
            break
    return bytes(start)
