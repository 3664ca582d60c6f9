"""Probes: small requests of the proxy itself that show whether an upstream accepts a parameter or a format."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from proxy.exceptions import HttpError, UpstreamStatus
from proxy.upstreams.abilities import is_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.surfaces.contract import Ask, Surface
    from proxy.upstreams.abilities import Kind, Suspicion
    from proxy.upstreams.transport import Response

#: Seconds that the probes of one suspicion may take together.
TIMEOUT_S: Final = 60.0
#: The most bytes of a response to a probe that are read.
_MAX_BYTES: Final = 1_000_000
#: Asks for JSON because OpenAI refuses ``response_format`` without the word.
QUESTION: Final = "Reply with the JSON object {} and nothing else."
_MESSAGES: Final = [{"role": "user", "content": QUESTION}]
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}}
_FUNCTION: Final = {"name": "noop", "description": "Does nothing.", "parameters": _NO_ARGUMENTS}
#: Anthropic's smallest budget of thinking tokens; the token limit must exceed it.
_THINKING: Final = 1_024


class _Format(Protocol):
    """How a probe of some kind looks in one wire format, with a token limit in each spelling that servers accept."""

    def __call__(self, kind: Kind) -> Sequence[Mapping[str, Any]]:
        """Return the fields of the probe, once for each spelling of the token limit."""
        ...


def _chat(kind: Kind) -> list[Mapping[str, Any]]:
    fields: dict[str, Any] = {"messages": _MESSAGES, "stream": kind.stream}
    if kind.tools:
        fields["tools"] = [{"type": "function", "function": _FUNCTION}]
    if kind.json_answer:
        fields["response_format"] = {"type": "json_object"}
    if kind.reasoning:
        fields["reasoning_effort"] = "low"
    return [{**fields, "max_tokens": 16}, {**fields, "max_completion_tokens": 16}]


def _completions(kind: Kind) -> list[Mapping[str, Any]]:
    return [{"prompt": QUESTION, "stream": kind.stream, "max_tokens": 16}]


def _responses(kind: Kind) -> list[Mapping[str, Any]]:
    fields: dict[str, Any] = {"input": QUESTION, "stream": kind.stream, "max_output_tokens": 16}
    if kind.tools:
        fields["tools"] = [{"type": "function", **_FUNCTION}]
    if kind.json_answer:
        fields["text"] = {"format": {"type": "json_object"}}
    if kind.reasoning:
        fields["reasoning"] = {"effort": "low"}
    return [fields]


def _messages(kind: Kind) -> list[Mapping[str, Any]]:
    fields: dict[str, Any] = {"messages": _MESSAGES, "stream": kind.stream, "max_tokens": 16}
    if kind.tools:
        fields["tools"] = [{"name": "noop", "input_schema": _NO_ARGUMENTS}]
    if kind.reasoning:
        fields |= {
            "thinking": {"type": "enabled", "budget_tokens": _THINKING},
            "max_tokens": _THINKING + 16,
        }
    return [fields]


#: The probe's fields by the name of the surface.
_FORMATS: Final[Mapping[str, _Format]] = {
    "chat": _chat,
    "completions": _completions,
    "responses": _responses,
    "messages": _messages,
}


class Post(Protocol):
    """Sends a request with the proxy's own key: ``UpstreamClient.post``."""

    async def __call__(self, path: str, body: bytes, credentials: None, *, fresh: bool) -> Response:
        """Return the 2xx response; raises HttpError."""
        ...


class Prober:
    """Sends probes to one upstream."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def probe(self, suspicion: Suspicion) -> bool | None:
        """Return whether the upstream has the suspected ability; None where the probes do not show it."""
        refused, accepted = _plain(suspicion.refused), _plain(suspicion.accepted)
        fallback = suspicion.fallback or suspicion.surface
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for fields in _FORMATS[suspicion.kind.surface](suspicion.kind):
                    body = msgspec.json.encode({"model": suspicion.model, **fields})
                    if await self._accepts(suspicion.surface, body, refused):
                        return True
                    if await self._accepts(fallback, body, accepted):
                        return False
        except (TimeoutError, HttpError):
            pass
        return None

    async def _accepts(self, surface: Surface, body: bytes, ask: Ask) -> bool:
        """Return whether the upstream accepts a probe; raises HttpError for failures that are no refusal."""
        request = surface.parse(body)
        try:
            response = await self._post(surface.path, surface.outgoing(request, ask), None, fresh=True)
        except UpstreamStatus as exc:
            if is_refusal(exc):
                return False
            raise
        try:
            if ask.samples <= 1:
                return True
            # A server that ignores ``n`` answers with one choice.
            answer = surface.read(await response.read(_MAX_BYTES), ask)
            return len([choice for choice in answer.choices if choice.unreadable is None]) >= ask.samples
        finally:
            response.close()


def _plain(ask: Ask) -> Ask:
    """Return what a probe asks for: without the route's parameters, and without values that a client chose."""
    return msgspec.structs.replace(
        ask, model=None, params={}, seed=None if ask.seed is None else 1, max_tokens=None, usage=False
    )
