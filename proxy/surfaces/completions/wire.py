"""The parts of OpenAI's older completions that gating reads; every other field stays bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from gating.types import Unmeasured
from proxy.surfaces.chat import wire as chat
from proxy.surfaces.chat.wire import Of, StreamOptions, Usage
from proxy.surfaces.identity import UNREAD
from proxy.surfaces.json_bytes import null

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.surfaces.contract import Ask, Request


class CompletionRequest(Struct):
    """What gating must know of a request; bounds are OpenAI's own."""

    model: str
    prompt: str | list[str | int | list[int]] = "<|endoftext|>"
    stream: bool | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    seed: Any = None
    response_format: chat.ResponseFormat | None = None
    stream_options: StreamOptions | None = None
    idk: chat.Override | None = None

    @property
    def prompts(self) -> int:
        """How many prompts it brings; each has its own choices."""
        if isinstance(self.prompt, str) or not self.prompt or isinstance(self.prompt[0], int):
            return 1
        return len(self.prompt)


class TextLogprobs(Struct):
    """Of one choice: OpenAI's lists, or, as llama.cpp has it here too, the chat's ``content``."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    content: list[chat.RankedToken] | None = None


#: A choice's logprobs as they were read.
Read: TypeAlias = TextLogprobs | Unmeasured | None


class TextChoice(Struct, Generic[Of]):
    """One choice, of a whole answer or of a chunk."""

    text: str | None = None
    index: chat.Index = 0
    finish_reason: str | None = None
    logprobs: Of = None  # type: ignore[assignment] # every Of allows None


class TextAnswer(Struct, Generic[Of]):
    """A whole answer, or one event of a stream: they have one shape."""

    choices: list[TextChoice[Of]] = []
    usage: Usage | None = None
    id: Raw = UNREAD
    model: Raw = UNREAD
    error: Any = None


def decoder() -> chat.Decoder[TextAnswer[Any]]:
    """Reads an answer or a chunk."""
    return chat.Decoder(TextAnswer, kind=TextLogprobs | None)


def as_chat(logprobs: Read) -> chat.Read:
    """The logprobs in the chat's form, in which evidence is read."""
    if logprobs is None or isinstance(logprobs, Unmeasured):
        return logprobs
    if logprobs.content is not None:
        return chat.Logprobs(content=logprobs.content)  # type: ignore[arg-type] # a RankedToken is a Token
    tokens, values = logprobs.tokens or [], logprobs.token_logprobs or []
    if not tokens and not values:
        return None
    tops = logprobs.top_logprobs or [None] * len(tokens)
    if not len(tokens) == len(values) == len(tops):
        return Unmeasured(f"{len(tokens)} tokens but {len(values)} logprobs")
    return chat.Logprobs(
        content=[
            chat.RankedToken(token=token, logprob=value, top_logprobs=_ranked(top))
            for token, value, top in zip(tokens, values, tops, strict=True)
        ]
    )


def _ranked(top: dict[str, float] | None) -> list[chat.Top] | None:
    if top is None:
        return None
    return [chat.Top(logprob=value) for value in sorted(top.values(), reverse=True)]


def abstention(index: int, text: str) -> dict[str, object]:
    """The choice that stands for a withheld one; this format has no field for a refusal."""
    return {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}


def for_client(request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
    """What to make of an upstream's bytes so that the logprobs are those that the client asked for; None: nothing."""
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return lambda body: chat.with_logprobs(null, body)
    if ask.top_logprobs > request.top_logprobs:
        k = request.top_logprobs
        return lambda body: chat.with_logprobs(lambda raw: _first_tops(raw, k), body)
    return None


def _first_tops(raw: Raw, k: int) -> bytes:
    """The logprobs with only the ``k`` most likely of each place's alternatives, and the token that was taken.

    OpenAI's reference: the sampled token is always there, so that a place may have ``k + 1``.
    """
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
        if "content" in fields:
            return chat.first_tops(raw, k=k)
        tokens = msgspec.json.decode(fields.get("tokens", b"[]"), type=list[str] | None) or []
        tops = msgspec.json.decode(
            fields.get("top_logprobs", b"null"), type=list[dict[str, float] | None] | None
        )
        if tops is None:
            return bytes(raw)
        cut = [_first(top, token, k) for top, token in zip(tops, tokens, strict=True)]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return bytes(raw)  # malformed: the upstream's own, as the client would have had them
    return msgspec.json.encode({**fields, "top_logprobs": cut})


def _first(top: dict[str, float] | None, token: str, k: int) -> dict[str, float] | None:
    if top is None:
        return None
    likely = sorted(top, key=top.__getitem__, reverse=True)[:k]
    return {name: value for name, value in top.items() if name in likely or name == token}
