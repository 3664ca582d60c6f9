"""Providers with wire formats of their own, translated by LiteLLM to OpenAI's.

LiteLLM is imported when the first route needs it (its import takes seconds), is told nothing but an allow-list
of the request's fields (a client's ``api_base`` would otherwise carry the proxy's key to any host), and looks
like any other upstream: bytes in OpenAI's format, streamed or not.
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
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.upstreams.abilities import Abilities
from proxy.upstreams.transport import pour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from proxy.config import Upstream
    from proxy.server.asgi import Push
    from proxy.upstreams.attempts import Attempts
    from proxy.upstreams.http import Secrets
    from proxy.upstreams.transport import Response

#: The fields of a chat request that are passed to LiteLLM; everything else of the client's stays behind.
ALLOWED: Final = frozenset(
    (
        "messages", "stream", "n", "logprobs", "top_logprobs", "temperature", "top_p", "max_tokens",
        "max_completion_tokens", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "user",
        "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format",
        "stream_options", "reasoning_effort", "modalities", "prediction", "service_tier",
    )
)  # fmt: skip


class LiteLLMUpstream:
    """One provider through LiteLLM."""

    forwards_credentials = False

    def __init__(
        self, name: str, config: Upstream, *, secrets: Secrets, gives_logprobs: bool, attempts: Attempts
    ) -> None:
        self.name = name
        self.gives_logprobs = gives_logprobs
        self.formats = {"chat"}
        self.abilities = Abilities()
        self._config = config
        self._secrets = secrets
        self._attempts = attempts
        self._litellm = _import()

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Ask for a completion; LiteLLM's own retries are off, ours are the upstream's."""
        if path != "/chat/completions":
            raise BadRequest("this upstream takes chat completions only")
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
            # Parameters that a provider does not know are left out: logprobs above all, asked for by the gate.
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
        """LiteLLM translates chat completions; there is nothing to pass other paths to."""
        raise BadRequest(
            "this path cannot be passed to the route's upstream, which takes chat completions only"
        )

    def redact(self, text: str) -> str:
        """``text`` without what must not leave the proxy."""
        return self._secrets.redact(text)

    async def aclose(self) -> None:
        """LiteLLM closes its connections itself."""

    def _error(self, exc: BaseException) -> UpstreamError:
        """LiteLLM's exception as one of ours, by the first row of the table that fits."""
        for name, error in _ERRORS:
            if isinstance(exc, getattr(self._litellm, name)):
                return error(f"the upstream failed: {name}")
        status = getattr(exc, "status_code", None)
        message = self._secrets.redact(str(getattr(exc, "message", exc)).partition("\n")[0])
        # LiteLLM puts the exception's and the provider's names before the provider's message.
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
    """A whole answer, as if it had come over HTTP."""

    status = 200
    headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise UpstreamTooLarge("the upstream's answer is over the limit")
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def pour(self, sink: Push) -> None:
        await pour(self.chunks(), sink)

    def close(self) -> None:
        """Nothing is held."""


class _Events:
    """A streamed answer, as the events that OpenAI would have sent."""

    status = 200
    headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._closing: asyncio.Task[None] | None = None

    async def read(self, limit: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > limit:
            raise UpstreamTooLarge("the upstream's answer is over the limit")
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
        """Cancel the provider's stream, if LiteLLM's wrapper offers to."""
        closing = getattr(self._stream, "aclose", None)
        if closing is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(closing())


def _import() -> ModuleType:
    # Its price list is read from the package, not fetched from the network at import.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
    except ImportError as exc:
        raise ConfigError("litellm is not installed; pip install 'idk-proxy[litellm]'") from exc
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm
