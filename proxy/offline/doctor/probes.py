"""Probes: a few tiny requests that show what one model at one upstream accepts and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gating.types import Unmeasured
from proxy.exceptions import UNREADABLE, HttpError, UpstreamError, UpstreamGarbage, UpstreamStatus
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Ask
from proxy.upstreams.abilities import is_refusal

if TYPE_CHECKING:
    from proxy.surfaces.contract import Choice
    from proxy.upstreams.client import UpstreamClient

#: The largest response to a probe, in bytes; its answer is a few tokens.
_LIMIT = 1_000_000
_MOST_TOKENS = 16
_CHAT = SURFACES["chat"]
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
            "additionalProperties": False,
        },
    },
}
_TOOL = {"type": "function", "function": {"name": "ok", "parameters": {"type": "object", "properties": {}}}}


@dataclass(slots=True)
class Deployment:
    """The findings about one model at one upstream.

    ``abilities`` holds the result of each probe: true or false, a number, or None where the probe failed for another
    reason than a refusal; ``errors`` holds the upstream's messages.
    """

    upstream: str
    model: str
    abilities: dict[str, bool | int | None] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether the model answers at all."""
        return bool(self.abilities.get("answers"))

    @property
    def top_logprobs(self) -> int:
        """The number of alternatives of each token that the model returns."""
        found = self.abilities.get("top_logprobs")
        return int(found or 0)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {"upstream": self.upstream, "model": self.model, **self.abilities, "errors": self.errors}


def _choices(body: bytes, alternatives: int = 0) -> Sequence[Choice]:
    ask = Ask(model=None, params={}, logprobs=True, top_logprobs=alternatives, alternatives=alternatives)
    return [choice for choice in _CHAT.read(body, ask).choices if not choice.missing]


def _logprobs(body: bytes) -> bool:
    """Return whether logprobs came that belong to the answer's tokens."""
    return not isinstance(_choices(body)[0].evidence.token_logprobs, Unmeasured | None)


def _tops(body: bytes) -> int:
    """Return the number of alternatives of the first token."""
    tops = _choices(body, MOST_TOPS)[0].evidence.top_logprobs
    return len(tops[0]) if tops else 0


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(_choices(body)[0].evidence.answer), dict)
    except UNREADABLE:
        return False


def _accepted(_body: bytes) -> bool:
    return True


#: The largest number of alternatives in OpenAI's format.
MOST_TOPS: Final = 20
#: A probe: the request fields that it adds, and the function that reads its result from the response.
_Probe = tuple[Mapping[str, Any], Callable[[bytes], bool | int]]
_PROBES: Final[Mapping[str, _Probe]] = {
    "logprobs": ({"logprobs": True}, _logprobs),
    "top_logprobs": ({"logprobs": True, "top_logprobs": MOST_TOPS}, _tops),
    "n": ({"n": 2, "temperature": 0.8}, lambda body: len(_choices(body)) == 2),
    "seed": ({"seed": 1}, _accepted),
    "json_schema": ({"response_format": _SCHEMA}, _is_json),
    "tools": ({"tools": [_TOOL]}, _accepted),
}
#: The number of alternatives to ask for where 20 are refused; every vendor allows this many.
_FEWER_TOPS = 5
_STREAM: Final = {"stream": True, "stream_options": {"include_usage": True}}


async def probe(upstream: UpstreamClient, model: str, credentials: bytes | None) -> Deployment:
    """Probe a model, one request after the other; failures are recorded as findings."""
    found = Deployment(upstream.name, model)
    asker = _Asker(upstream, model, credentials)
    try:
        answer = msgspec.json.decode(await asker.first(), type=dict[str, Any])
    except HttpError as exc:
        found.abilities["answers"] = False
        found.errors["answers"] = _words(exc)
        return found
    found.abilities |= {"answers": True, "usage": bool(answer.get("usage")), "reasoning": _reasons(answer)}
    for name, (fields, read) in _PROBES.items():
        await _find(found, name, asker, fields, read)
    if not found.top_logprobs:
        fewer = {"logprobs": True, "top_logprobs": _FEWER_TOPS}
        await _find(found, "top_logprobs", asker, fewer, _tops)
    await _find_stream(found, asker)
    return found


async def _find(
    found: Deployment,
    name: str,
    asker: _Asker,
    fields: Mapping[str, Any],
    read: Callable[[bytes], bool | int],
) -> None:
    try:
        found.abilities[name] = read(await asker.ask(fields))
        found.errors.pop(name, None)
    except HttpError as exc:
        _note(found, name, exc)


async def _find_stream(found: Deployment, asker: _Asker) -> None:
    """Probe streaming, and logprobs in a stream."""
    for name, fields in (("stream", {}), ("stream_logprobs", {"logprobs": True})):
        try:
            body = await asker.post({**_STREAM, **fields})
        except HttpError as exc:
            _note(found, name, exc)
            continue
        ended = body.rstrip().endswith(b"data: [DONE]")
        found.abilities[name] = ended and (not fields or b'"logprob":' in body.replace(b": ", b":"))


def _note(found: Deployment, name: str, exc: HttpError) -> None:
    """Record a refusal as False, and any other failure as unknown."""
    refused = isinstance(exc, UpstreamStatus) and is_refusal(exc)
    found.abilities[name] = False if refused else None
    found.errors[name] = _words(exc)


def _words(exc: HttpError) -> str:
    """Return the error's message, with the first words of an answer that cannot be read."""
    excerpt = exc.excerpt if isinstance(exc, UpstreamError) else ""
    return f"{exc.message}; its answer begins with {excerpt!r}" if excerpt else exc.message


def _reasons(answer: Mapping[str, Any]) -> bool:
    """Return whether the response shows reasoning, in the forms that servers use."""
    details = (answer.get("usage") or {}).get("completion_tokens_details") or {}
    choices = answer.get("choices") or [{}]
    message = choices[0].get("message") or {}
    return bool(
        details.get("reasoning_tokens") or message.get("reasoning_content") or message.get("reasoning")
    )


class _Asker:
    """Sends the probes' requests to one deployment."""

    def __init__(self, upstream: UpstreamClient, model: str, credentials: bytes | None) -> None:
        self._upstream = upstream
        self._credentials = credentials
        self._body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": "Reply with the word yes."}],
            "max_tokens": _MOST_TOKENS,
        }

    async def first(self) -> bytes:
        """Ask the plain question; where ``max_tokens`` is refused, use ``max_completion_tokens`` from then on."""
        try:
            return await self.ask({})
        except UpstreamStatus as exc:
            if not (is_refusal(exc) and "max_tokens" in exc.message):
                raise
        del self._body["max_tokens"]
        self._body["max_completion_tokens"] = _MOST_TOKENS
        return await self.ask({})

    async def ask(self, fields: Mapping[str, Any]) -> bytes:
        """Return the body of an answer with at least one choice; raises HttpError."""
        body = await self.post(fields)
        if not _choices(body):
            raise UpstreamGarbage("the upstream's answer has no choices")
        return body

    async def post(self, fields: Mapping[str, Any]) -> bytes:
        """Send the request and return the body of the response; raises HttpError."""
        body = msgspec.json.encode({**self._body, **fields})
        response = await self._upstream.post(_CHAT.path, body, self._credentials, fresh=True)
        try:
            return await response.read(_LIMIT)
        finally:
            response.close()
