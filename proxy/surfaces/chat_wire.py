"""The parts of OpenAI's chat completions that gating reads; every other field stays bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from gating.evidence import evidence_of
from gating.types import Evidence, Unmeasured
from proxy.exceptions import UpstreamGarbage
from proxy.surfaces.json_bytes import null, strict_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.wire import Ask, Request

Read = TypeVar("Read", bound=Struct)


class ResponseFormat(Struct):
    """Of a request."""

    type: str = "text"


class StreamOptions(Struct):
    """Of a request."""

    include_usage: bool | None = None


class Override(Struct, forbid_unknown_fields=True):
    """The request's own ``idk`` field."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    wrong_cost: Annotated[float, Meta(ge=0.0, le=1e9)] | None = None


class ChatRequest(Struct):
    """What gating must know of a request; bounds are OpenAI's own."""

    model: str
    messages: Annotated[list[Raw], Meta(min_length=1)]
    stream: bool | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=0)] | None = None
    response_format: ResponseFormat | None = None
    stream_options: StreamOptions | None = None
    idk: Override | None = None


class Top(Struct, gc=False):
    """One of the most likely tokens at a place."""

    logprob: float | None = None


class Token(Struct):
    """One token of an answer."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[Top] | None = None


class LeanToken(Struct, gc=False):
    """The same without what most scorers do not read: decoding it is what costs."""

    token: str = ""
    logprob: float | None = None


class Logprobs(Struct):
    """Of one choice."""

    content: list[Token] | None = None


class LeanLogprobs(Struct):
    """Of one choice, for scorers that read the answer's own tokens only."""

    content: list[LeanToken] | None = None


class Message(Struct):
    """An answer's message, or a chunk's delta."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Raw = Raw(b"null")
    function_call: Raw = Raw(b"null")

    @property
    def calls_a_tool(self) -> bool:
        """Whether it holds a tool call, in the present or the older form."""
        return any(
            bytes(called) != b"null" and msgspec.json.decode(called)
            for called in (self.tool_calls, self.function_call)
        )

    @property
    def declines(self) -> bool:
        """Whether it is a refusal and nothing else: words beside one are an answer, and gated as such."""
        return bool(self.refusal) and not self.content


class AnswerChoice(Struct):
    """One choice of an answer."""

    message: Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: Raw = Raw(b"null")


class Usage(Struct):
    """What the upstream counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatAnswer(Struct):
    """A whole answer."""

    choices: list[AnswerChoice]
    usage: Usage | None = None


class ChunkChoice(Struct):
    """One choice of a chunk."""

    index: int = 0
    delta: Message = msgspec.field(default_factory=Message)
    finish_reason: str | None = None
    logprobs: Raw = Raw(b"null")


class Chunk(Struct):
    """One event of a stream."""

    choices: list[ChunkChoice] = []
    usage: Usage | None = None
    error: Raw = Raw(b"null")


class ErrorObject(Struct):
    """What an upstream says of its failure."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None

    @property
    def code_text(self) -> str | None:
        """Some servers number their codes; OpenAI's schema has a string."""
        return None if self.code is None else str(self.code)


#: What msgspec raises on bytes that are no JSON, no UTF-8, or another type than is read.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


class Decoder(Generic[Read]):
    """Reads an upstream's JSON into one struct; what a client could not read either is UpstreamGarbage."""

    def __init__(self, struct: type[Read]) -> None:
        self._strict = msgspec.json.Decoder(struct)

    def __call__(self, body: bytes) -> tuple[Read, bytes]:
        """The struct, and the body as JSON (mended where it held NaN or Infinity)."""
        try:
            if not body.isascii():
                body.decode()  # msgspec does not look into the text of a part that it takes over unread
            return self._strict.decode(body), body
        except msgspec.ValidationError as exc:
            raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc
        except (*_UNREADABLE, RecursionError):
            body = strict_json(body)
        try:
            return self._strict.decode(body), body
        except msgspec.ValidationError as exc:
            raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc


_LEAN = msgspec.json.Decoder(LeanLogprobs)
_FULL = msgspec.json.Decoder(Logprobs)


def evidence(text: str, raw: Raw, *, top: bool) -> Evidence:
    """The evidence of an answer and its ``logprobs``; ``top``: whether the alternatives are needed.

    Malformed logprobs never fail a request: the answer may be fine, it only cannot be measured by them.
    """
    if top:
        return _full_evidence(text, raw)
    try:
        tokens = _LEAN.decode(raw).content
    except _UNREADABLE:
        return _without_logprobs(text, raw)
    if not tokens:
        return Evidence(text)
    found = evidence_of(text, [t.token for t in tokens], [t.logprob for t in tokens])  # type: ignore[misc]
    # Characters that span tokens can only be told by the tokens' bytes, which cost more to read.
    return _full_evidence(text, raw) if isinstance(found.token_logprobs, Unmeasured) else found


def _full_evidence(text: str, raw: Raw) -> Evidence:
    try:
        tokens = _FULL.decode(raw).content
    except _UNREADABLE:
        return _without_logprobs(text, raw)
    return tokens_evidence(text, tokens or [])


def tokens_evidence(text: str, tokens: list[Token]) -> Evidence:
    """The evidence of an answer and its tokens; a missing logprob is left to the scorers to refuse."""
    if not tokens:
        return Evidence(text)
    return evidence_of(
        text,
        [token.token for token in tokens],
        [token.logprob for token in tokens],  # type: ignore[misc] # None is what they refuse
        top_logprobs=[[top.logprob for top in token.top_logprobs or ()] for token in tokens],  # type: ignore[misc]
        token_bytes=[token.bytes for token in tokens],
    )


def _without_logprobs(text: str, raw: Raw) -> Evidence:
    if bytes(raw) == b"null":
        return Evidence(text)
    return Evidence(text, token_logprobs=Unmeasured("malformed logprobs"))


def read_tokens(raw: Raw) -> list[Token] | Unmeasured:
    """The tokens of one chunk's ``logprobs``; none where it has none."""
    try:
        return _FULL.decode(raw).content or []
    except _UNREADABLE:
        return [] if bytes(raw) == b"null" else Unmeasured("malformed logprobs")


#: The fields of an answer that say nothing of its content; an answer in which something is withheld keeps
#: these alone, since servers add fields of their own that may repeat the text (llama.cpp's ``__verbose``).
ENVELOPE = ("id", "object", "created", "model", "system_fingerprint", "service_tier", "usage")


def abstention(index: int, text: str, *, json_answer: bool) -> dict[str, object]:
    """The choice that stands for a withheld one.

    Where the client asked for JSON the words go into ``refusal``, which SDKs read before they parse.
    """
    message = {
        "role": "assistant",
        "content": None if json_answer else text,
        "refusal": text if json_answer else None,
    }
    return {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}


def logprobs_for_client(request: Request, ask: Ask) -> Callable[[Raw], bytes] | None:
    """What to make of the upstream's logprobs before the client sees them; None: leave them."""
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return null
    if ask.top_logprobs > request.top_logprobs:
        return partial(_first_tops, k=request.top_logprobs)
    return None


def _first_tops(raw: Raw, *, k: int) -> bytes:
    """The logprobs with only the first ``k`` of each place's alternatives (they come most likely first)."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
        for name in ("content", "refusal"):
            tokens = msgspec.json.decode(fields.get(name, b"null"), type=list[dict[str, Raw]] | None)
            for token in tokens or ():
                tops = msgspec.json.decode(token.get("top_logprobs", b"[]"), type=list[Raw] | None)
                token["top_logprobs"] = Raw(msgspec.json.encode((tops or [])[:k]))
            if tokens is not None:
                fields[name] = Raw(msgspec.json.encode(tokens))
    except _UNREADABLE:
        return bytes(raw)  # malformed: the upstream's own, as the client would have had them
    return msgspec.json.encode(fields)


def error_body(exc: HttpError) -> bytes:
    """OpenAI's error object."""
    return msgspec.json.encode(
        {
            "error": {
                "message": exc.message,
                "type": exc.error_type,
                "param": exc.param,
                "code": exc.code,
            }
        }
    )
