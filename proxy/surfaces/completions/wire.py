"""The parts of OpenAI's older completions that gating reads; every other field stays encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from gating.types import Unmeasured
from proxy.surfaces import thoughts
from proxy.surfaces.answer_fields import ABSENT
from proxy.surfaces.chat.wire import Index, ResponseFormat, StreamOptions, Usage, content_text, first_tops
from proxy.surfaces.choices import has_text, with_logprobs
from proxy.surfaces.json_bytes import null
from proxy.surfaces.request_fields import Override
from proxy.surfaces.tokens import Alternative, Logprobs, RankedToken, ReadLogprobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.surfaces.contract import Ask, Request


class CompletionRequest(Struct):
    """The fields of a request that gating needs; the bounds are OpenAI's."""

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
    response_format: ResponseFormat | None = None
    stream_options: StreamOptions | None = None
    idk: Override | None = None

    @property
    def prompts(self) -> int:
        """Return the number of prompts in the request; each has its own choices."""
        if isinstance(self.prompt, str) or not self.prompt or isinstance(self.prompt[0], int):
            return 1
        return len(self.prompt)


class TextLogprobs(Struct):
    """The logprobs of one choice: OpenAI's lists, or ``content`` as in a chat, which llama.cpp sends here too."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    content: list[RankedToken] | None = None


#: The logprobs of a choice after reading.
ReadTextLogprobs: TypeAlias = TextLogprobs | Unmeasured | None
TEXT_LOGPROBS: Final[msgspec.json.Decoder[TextLogprobs | None]] = msgspec.json.Decoder(TextLogprobs | None)


class TextChoice(Struct):
    """One choice of a whole answer or of a chunk."""

    text: str | None = None
    index: Index = 0
    finish_reason: str | None = None
    logprobs: TextLogprobs | None = None


class TextAnswer(Struct):
    """A whole answer, or one event of a stream, which has the same fields."""

    choices: list[TextChoice] = []
    usage: Usage | None = None
    id: Raw = ABSENT
    model: Raw = ABSENT
    error: Any = None
    object: Any = None


#: The fields of a choice that are known to hold no text of the answer, beside ``text``.
_KNOWN: Final = frozenset(
    {
        "index", "text", "finish_reason", "logprobs", "prompt_logprobs", "content_filter_results", "stop_reason",
        "matched_stop", "token_ids", "prompt_token_ids",
    }
)  # fmt: skip


def loose_text(choice: Mapping[str, Raw]) -> tuple[str, str | None]:
    """Return the text of a choice, whose values may have any type, and why a part of it cannot be read."""
    text, unreadable = content_text(choice.get("text"))
    if unreadable is None and not text and (unknown := has_text(choice, _KNOWN)) is not None:
        unreadable = f"the choice has no text, but an unknown field {unknown[:40]!r}"
    return text, unreadable


def as_chat(logprobs: ReadTextLogprobs) -> ReadLogprobs:
    """Return the logprobs in the form of a chat, from which evidence is made."""
    if logprobs is None or isinstance(logprobs, Unmeasured):
        return logprobs
    if logprobs.content is not None:
        return Logprobs(content=logprobs.content)  # type: ignore[arg-type] # a RankedToken is a Token
    tokens, values = logprobs.tokens or [], logprobs.token_logprobs or []
    if not tokens and not values:
        return None
    tops = logprobs.top_logprobs or [None] * len(tokens)
    if not len(tokens) == len(values) == len(tops):
        return Unmeasured(f"{len(tokens)} tokens but {len(values)} logprobs")
    return Logprobs(
        content=[
            RankedToken(token=token, logprob=value, top_logprobs=_ranked(top))
            for token, value, top in zip(tokens, values, tops, strict=True)
        ]
    )


def _ranked(top: dict[str, float] | None) -> list[Alternative] | None:
    """Return the alternatives of one token, the most likely first."""
    if top is None:
        return None
    return [Alternative(logprob=value) for value in sorted(top.values(), reverse=True)]


def abstention(index: int, text: str) -> dict[str, object]:
    """Return the choice that replaces a withheld one; the format has no field for a refusal."""
    return {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}


def without_thoughts(choice: Mapping[str, Raw]) -> dict[str, Any]:
    """Return a choice of which the text has no thoughts, and no logprobs, which would repeat them."""
    text, _ = content_text(choice.get("text"))
    return {**choice, "text": thoughts.visible(text).text or "", "logprobs": None}


def for_client(request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
    """Return what changes the logprobs of an answer or a chunk to those that the client asked for.

    None if the upstream was asked for the same ones.
    """
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return lambda body: with_logprobs(null, body)
    if ask.top_logprobs > request.top_logprobs:
        k = request.top_logprobs
        return lambda body: with_logprobs(lambda raw: _first_tops(raw, k), body)
    return None


def _first_tops(raw: Raw, k: int) -> bytes:
    """Return the logprobs with the ``k`` most likely alternatives of each token, and the sampled one.

    OpenAI's reference: the sampled token is always included, so that there may be ``k + 1``.
    """
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
        if "content" in fields:
            return first_tops(raw, k=k)
        tokens = msgspec.json.decode(fields.get("tokens", b"[]"), type=list[str] | None) or []
        tops = msgspec.json.decode(
            fields.get("top_logprobs", b"null"), type=list[dict[str, float] | None] | None
        )
        if tops is None:
            return bytes(raw)
        cut = [_first(top, token, k) for top, token in zip(tops, tokens, strict=True)]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return bytes(raw)  # malformed logprobs are passed on as the upstream sent them
    return msgspec.json.encode({**fields, "top_logprobs": cut})


def _first(top: dict[str, float] | None, token: str, k: int) -> dict[str, float] | None:
    """Return the ``k`` most likely alternatives of one token, and the token itself."""
    if top is None:
        return None
    likely = sorted(top, key=top.__getitem__, reverse=True)[:k]
    return {name: value for name, value in top.items() if name in likely or name == token}
