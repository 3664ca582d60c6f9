"""A few tiny requests to one model at one upstream: what it takes, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gating.types import Unmeasured
from proxy.exceptions import UNREADABLE, HttpError, UpstreamGarbage, UpstreamStatus
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Ask
from proxy.upstreams.abilities import is_refusal

if TYPE_CHECKING:
    from proxy.surfaces.contract import Choice
    from proxy.upstreams.client import UpstreamClient

#: An answer to a probe is a few tokens; what is larger is none.
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
    """What was found of a model at an upstream.

    ``abilities`` hold for each probe what it found: a truth, a number, or None where nothing could be found;
    ``errors`` what the upstream said where it refused.
    """

    upstream: str
    model: str
    abilities: dict[str, bool | int | None] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether it answers at all."""
        return bool(self.abilities.get("answers"))

    @property
    def top_logprobs(self) -> int:
        """How many alternatives of each token it gives."""
        found = self.abilities.get("top_logprobs")
        return int(found or 0)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"upstream": self.upstream, "model": self.model, **self.abilities, "errors": self.errors}


def _choices(body: bytes, alternatives: int = 0) -> Sequence[Choice]:
    ask = Ask(model=None, params={}, logprobs=True, top_logprobs=alternatives, alternatives=alternatives)
    return _CHAT.read(body, ask).choices


def _logprobs(body: bytes) -> bool:
    """Whether they are there, and those of the answer's own tokens."""
    return not isinstance(_choices(body)[0].evidence.token_logprobs, Unmeasured | None)


def _tops(body: bytes) -> int:
    """How many alternatives came of the first token."""
    tops = _choices(body, MOST_TOPS)[0].evidence.top_logprobs
    return len(tops[0]) if tops else 0


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(_choices(body)[0].evidence.answer), dict)
    except UNREADABLE:
        return False


def _accepted(_body: bytes) -> bool:
    return True


#: The most alternatives that OpenAI's format knows.
MOST_TOPS: Final = 20
#: A probe's further fields, and what it reads of the answer: what was found, False for nothing.
_Probe = tuple[Mapping[str, Any], Callable[[bytes], bool | int]]
_PROBES: Final[Mapping[str, _Probe]] = {
    "logprobs": ({"logprobs": True}, _logprobs),
    "top_logprobs": ({"logprobs": True, "top_logprobs": MOST_TOPS}, _tops),
    "n": ({"n": 2, "temperature": 0.8}, lambda body: len(_choices(body)) == 2),
    "seed": ({"seed": 1}, _accepted),
    "json_schema": ({"response_format": _SCHEMA}, _is_json),
    "tools": ({"tools": [_TOOL]}, _accepted),
}
#: Asked for where 20 alternatives are refused: as many as every vendor gives.
_FEWER_TOPS = 5
_STREAM: Final = {"stream": True, "stream_options": {"include_usage": True}}


async def probe(upstream: UpstreamClient, model: str, credentials: bytes | None) -> Deployment:
    """Ask, one request after the other; whatever goes wrong is a finding."""
    found = Deployment(upstream.name, model)
    asker = _Asker(upstream, model, credentials)
    try:
        answer = msgspec.json.decode(await asker.first(), type=dict[str, Any])
    except HttpError as exc:
        found.abilities["answers"] = False
        found.errors["answers"] = exc.message
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
    """Whether it streams, and whether logprobs come with the stream."""
    for name, fields in (("stream", {}), ("stream_logprobs", {"logprobs": True})):
        try:
            body = await asker.post({**_STREAM, **fields})
        except HttpError as exc:
            _note(found, name, exc)
            continue
        ended = body.rstrip().endswith(b"data: [DONE]")
        found.abilities[name] = ended and (not fields or b'"logprob":' in body.replace(b": ", b":"))


def _note(found: Deployment, name: str, exc: HttpError) -> None:
    """A refusal is an answer to the probe; of any other failure nothing is learnt."""
    refused = isinstance(exc, UpstreamStatus) and is_refusal(exc)
    found.abilities[name] = False if refused else None
    found.errors[name] = exc.message


def _reasons(answer: Mapping[str, Any]) -> bool:
    """Whether it thinks before it answers, as servers show it."""
    details = (answer.get("usage") or {}).get("completion_tokens_details") or {}
    choices = answer.get("choices") or [{}]
    message = choices[0].get("message") or {}
    return bool(
        details.get("reasoning_tokens") or message.get("reasoning_content") or message.get("reasoning")
    )


class _Asker:
    """Asks one deployment tiny questions."""

    def __init__(self, upstream: UpstreamClient, model: str, credentials: bytes | None) -> None:
        self._upstream = upstream
        self._credentials = credentials
        self._body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": "Reply with the word yes."}],
            "max_tokens": _MOST_TOKENS,
        }

    async def first(self) -> bytes:
        """The plain answer; the newer name of the tokens' limit is taken where the older is refused."""
        try:
            return await self.ask({})
        except UpstreamStatus as exc:
            if not (is_refusal(exc) and "max_tokens" in exc.message):
                raise
        del self._body["max_tokens"]
        self._body["max_completion_tokens"] = _MOST_TOKENS
        return await self.ask({})

    async def ask(self, fields: Mapping[str, Any]) -> bytes:
        """An answer with at least one choice; raises HttpError."""
        body = await self.post(fields)
        if not _choices(body):
            raise UpstreamGarbage("the upstream's answer has no choices")
        return body

    async def post(self, fields: Mapping[str, Any]) -> bytes:
        """The answer's bytes; raises HttpError."""
        body = msgspec.json.encode({**self._body, **fields})
        response = await self._upstream.post(_CHAT.path, body, self._credentials, fresh=True)
        try:
            return await response.read(_LIMIT)
        finally:
            response.close()
