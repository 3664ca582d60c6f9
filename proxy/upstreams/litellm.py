"""Providers with other wire formats than OpenAI's, translated by LiteLLM.

LiteLLM is imported when the first upstream needs it, because the import takes seconds. It receives an allow-list of
the request's fields: with a client's ``api_base`` it would send the proxy's key to any host. Its responses are
returned as bytes in OpenAI's format, whole or streamed.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.exceptions import (
    BadRequest,
    ConfigError,
    UpstreamCut,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstreams.abilities import Abilities
from proxy.upstreams.encoding import too_large
from proxy.upstreams.probes import Prober
from proxy.upstreams.transport import pour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from proxy.config import Upstream
    from proxy.server.asgi import Push
    from proxy.upstreams.attempts import Attempts
    from proxy.upstreams.secrets import Secrets
    from proxy.upstreams.transport import Response

#: The fields of a chat request that are passed to LiteLLM; all others are dropped.
ALLOWED: Final = frozenset(
    (
        "messages", "stream", "n", "logprobs", "top_logprobs", "temperature", "top_p", "max_tokens",
        "max_completion_tokens", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "user",
        "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format",
        "stream_options", "reasoning_effort", "modalities", "prediction", "service_tier",
    )
)  # fmt: skip


class LiteLLMUpstream:
    """An ``UpstreamClient`` for one provider that LiteLLM supports."""

    forwards_credentials = False

    def __init__(
        self, name: str, config: Upstream, *, secrets: Secrets, gives_logprobs: bool, attempts: Attempts
    ) -> None:
        self.name = name
        self.gives_logprobs = gives_logprobs
        self.formats = {"chat"}
        self.abilities = Abilities(name, attempts.metrics, probe=Prober(self.post).probe)
        self._config = config
        self._secrets = secrets
        self._attempts = attempts
        self._litellm = _import()

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Request a completion; LiteLLM's retries are disabled in favour of the upstream's ``Attempts``."""
        if path != "/chat/completions":
            raise BadRequest("this upstream accepts chat completions only; use /v1/chat/completions")
        return await self._attempts.run(partial(self._once, self._arguments(body)))

    async def _once(self, arguments: Mapping[str, Any]) -> Response:
        try:
            answer = await self._litellm.acompletion(**arguments)
        except Exception as exc:
            raise self._error(exc) from exc
        if arguments.get("stream"):
            return _Events(answer)
        return _Whole(answer.model_dump_json(exclude_none=True).encode())

    def _arguments(self, body: bytes) -> dict[str, Any]:
        fields = msgspec.json.decode(body, type=dict[str, Any])
        arguments = {name: value for name, value in fields.items() if name in ALLOWED}
        return {
            **arguments,
            "model": f"{self._config.litellm}/{fields['model']}",
            "api_key": self._secrets.api_key,
            "base_url": self._config.base_url,
            "timeout": self._config.timeout_s,
            "num_retries": 0,
            "max_retries": 0,
            # LiteLLM drops parameters that the provider does not support, such as the logprobs that the gate adds.
            "drop_params": True,
        }

    async def relay(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        credentials: bytes | None,
    ) -> Response:
        """Reject the request: LiteLLM translates chat completions and has no other paths."""
        raise BadRequest(
            "the route's upstream accepts chat completions only; this path cannot be passed through"
        )

    def redact(self, text: str) -> str:
        """Return ``text`` without the upstream's key."""
        return self._secrets.redact(text)

    async def aclose(self) -> None:
        """Cancel probes; LiteLLM closes its connections itself."""
        await self.abilities.aclose()

    def _error(self, exc: BaseException) -> UpstreamError:
        """Return the UpstreamError for an exception of LiteLLM, from the first row of the table that matches."""
        for name, error in _ERRORS:
            if isinstance(exc, getattr(self._litellm, name)):
                return error(f"the upstream failed: {name}")
        status = getattr(exc, "status_code", None)
        message = self._secrets.redact(str(getattr(exc, "message", exc)).partition("\n")[0])
        # LiteLLM prefixes the provider's message with the names of the exception and the provider.
        message = message.rpartition("Exception - ")[2]
        return UpstreamStatus(
            message, status=status if isinstance(status, int) and 400 <= status < 600 else 502
        )


#: Most specific first.
_ERRORS: Final[tuple[tuple[str, type[UpstreamError]], ...]] = (
    ("Timeout", UpstreamTimeout),
    ("APIConnectionError", UpstreamUnreachable),
)


class _Whole:
    """A ``Response`` with a complete body in memory."""

    status = 200
    headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise too_large(limit)
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def pour(self, sink: Push) -> None:
        await pour(self.chunks(), sink)

    def close(self) -> None:
        """Do nothing: there is no connection."""


class _Events:
    """A ``Response`` that renders LiteLLM's stream as OpenAI's server-sent events."""

    status = 200
    headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._closing: asyncio.Task[None] | None = None

    async def read(self, limit: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > limit:
            raise too_large(limit)
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield b"data: " + chunk.model_dump_json(exclude_none=True).encode() + b"\n\n"
        except Exception as exc:
            raise UpstreamCut(f"the upstream's stream failed: {type(exc).__name__}") from exc
        yield b"data: [DONE]\n\n"

    async def pour(self, sink: Push) -> None:
        await pour(self.chunks(), sink)

    def close(self) -> None:
        """Cancel the provider's stream where LiteLLM's wrapper has ``aclose``."""
        closing = getattr(self._stream, "aclose", None)
        if closing is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(closing())


def _import() -> ModuleType:
    # LiteLLM would otherwise fetch its price list from the network at import.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
    except ImportError as exc:
        raise ConfigError("litellm is not installed; pip install 'idk-proxy[litellm]'") from exc
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm
