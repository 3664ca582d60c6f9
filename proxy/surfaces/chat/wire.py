"""The parts of OpenAI's chat completions that gating reads; every other field stays bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from gating.evidence import call_evidence, evidence_of
from gating.types import Evidence, Unmeasured
from proxy.exceptions import UNREADABLE, UpstreamGarbage
from proxy.server.bodies import check_utf8
from proxy.surfaces.identity import UNREAD
from proxy.surfaces.json_bytes import null, replace_logprobs, strict_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.surfaces.contract import Ask, Request

#: What the logprobs of an answer are read as.
Of = TypeVar("Of")
Shape = TypeVar("Shape")


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
    context: list[str] | None = None
    verbose: bool = False


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
    seed: Any = None
    response_format: ResponseFormat | None = None
    stream_options: StreamOptions | None = None
    idk: Override | None = None


class Top(Struct, gc=False):
    """One of the most likely tokens at a place."""

    logprob: float | None = None


class Token(Struct, gc=False):
    """One token of an answer. Its bytes stay unread where the tokens' text alone is the answer's."""

    token: str = ""
    logprob: float | None = None
    bytes: Raw = Raw(b"null")


class RankedToken(Token, gc=False):
    """The same with its alternatives, which few scorers read: decoding them is what costs."""

    top_logprobs: list[Top] | None = None


Kind = TypeVar("Kind", bound=Token)


class Logprobs(Struct, Generic[Kind]):
    """Of one choice."""

    content: list[Kind] | None = None


#: A choice's logprobs as they were read; Unmeasured where they are there and malformed.
Read: TypeAlias = Logprobs[Token] | Unmeasured | None


class Message(Struct):
    """An answer's message, or a chunk's delta."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None

    @property
    def calls_a_tool(self) -> bool:
        """Whether it holds a tool call, in the present or the older form."""
        return bool(self.tool_calls or self.function_call)

    @property
    def arguments(self) -> list[str]:
        """Those of its calls, in order."""
        calls = self.tool_calls if isinstance(self.tool_calls, list) else []
        functions = [call.get("function") or call.get("custom") for call in calls if isinstance(call, dict)]
        found = [function for function in [*functions, self.function_call] if isinstance(function, dict)]
        return [str(function.get("arguments") or function.get("input") or "") for function in found]

    @property
    def declines(self) -> bool:
        """Whether it is a refusal and nothing else: words beside one are an answer, and gated as such."""
        return bool(self.refusal) and not self.content


#: What a store can hold; an upstream's number beyond is no number of a choice, or of tokens.
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(le=2**53)]


class AnswerChoice(Struct, Generic[Of]):
    """One choice of an answer."""

    message: Message
    index: Index = 0
    finish_reason: str | None = None
    logprobs: Of = None  # type: ignore[assignment] # every Of allows None


class Usage(Struct):
    """What the upstream counted."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class ChatAnswer(Struct, Generic[Of]):
    """A whole answer; ``Of`` is what the logprobs are read as."""

    choices: list[AnswerChoice[Of]]
    usage: Usage | None = None
    id: Raw = UNREAD
    model: Raw = UNREAD


class ChunkChoice(Struct, Generic[Of]):
    """One choice of a chunk."""

    index: Index = 0
    delta: Message = msgspec.field(default_factory=Message)
    finish_reason: str | None = None
    logprobs: Of = None  # type: ignore[assignment] # every Of allows None


class Chunk(Struct, Generic[Of]):
    """One event of a stream."""

    choices: list[ChunkChoice[Of]] = []
    usage: Usage | None = None
    error: Any = None


class _Span(Struct):
    logprobs: Raw = Raw(b"null")


class Spans(Struct):
    """The bytes of each choice's logprobs, in an answer or a chunk."""

    choices: list[_Span] = []


#: What a choice's logprobs are read as, by whether the alternatives of each token are needed.
KINDS: Final[Mapping[bool, Any]] = {False: Logprobs[Token] | None, True: Logprobs[RankedToken] | None}
_MALFORMED = Unmeasured("malformed logprobs")
_BYTES = msgspec.json.Decoder(list[Annotated[int, Meta(ge=0, le=255)]] | None)

#: What msgspec raises on bytes that are no JSON, no UTF-8, nested too deeply, or another type than is read.


class Decoder(Generic[Shape]):
    """Reads an upstream's JSON into one struct; what a client could not read either is UpstreamGarbage.

    ``kind``: what a choice's logprobs are read as, one of ``KINDS`` for the chat's. Malformed logprobs never
    fail a request: the answer may be fine, it only cannot be measured by them.
    """

    def __init__(self, shape: type[Shape], *, kind: Any) -> None:
        # A struct over what its logprobs are read as: mypy has no kind for such a parameter.
        self._typed = msgspec.json.Decoder(shape[kind])  # type: ignore[index]
        self._loose: msgspec.json.Decoder[Any] = msgspec.json.Decoder(shape[Raw])  # type: ignore[index]
        self._logprobs = msgspec.json.Decoder(kind)

    def __call__(self, body: bytes) -> tuple[Shape, bytes]:
        """The struct, and the body as JSON (mended where it held NaN or Infinity)."""
        try:
            check_utf8(body)
            return self._typed.decode(body), body
        except msgspec.ValidationError:
            return self._salvaged(body), body
        except UNREADABLE:
            body = strict_json(body)
        try:
            return self._typed.decode(body), body
        except msgspec.ValidationError:
            return self._salvaged(body), body

    def _salvaged(self, body: bytes) -> Any:
        """The struct where something has another type than expected, which may be logprobs alone."""
        try:
            read = self._loose.decode(body)
        except UNREADABLE as exc:
            raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc
        for choice in read.choices:
            try:
                choice.logprobs = self._logprobs.decode(choice.logprobs or b"null")
            except UNREADABLE:
                choice.logprobs = _MALFORMED
        return read


def evidence(text: str, logprobs: Read, *, alternatives: int) -> Evidence:
    """The evidence of an answer and its logprobs."""
    if isinstance(logprobs, Unmeasured):
        return Evidence(text, token_logprobs=logprobs)
    return tokens_evidence(text, (logprobs and logprobs.content) or (), alternatives=alternatives)


def tokens_evidence(text: str, tokens: Sequence[Token], *, alternatives: int) -> Evidence:
    """The evidence of an answer and its tokens; a missing logprob is left to the scorers to refuse.

    Of each token the first ``alternatives`` are kept, as many as were tuned on: an entropy over more is another.
    """
    if not tokens:
        return Evidence(text)
    shown = [token.token for token in tokens]
    try:
        token_bytes = None if "".join(shown) == text else [_BYTES.decode(token.bytes) for token in tokens]
    except UNREADABLE:
        return Evidence(text, token_logprobs=_MALFORMED)
    return evidence_of(
        text,
        shown,
        [token.logprob for token in tokens],  # type: ignore[misc] # None is what they refuse
        top_logprobs=[[top.logprob for top in (token.top_logprobs or ())[:alternatives]] for token in tokens]  # type: ignore[attr-defined] # then they are RankedTokens
        if alternatives
        else None,
        token_bytes=token_bytes,
    )


def words_evidence(text: str, logprobs: Read, *, alternatives: int) -> Evidence:
    """Return the evidence of the text before tool calls: of the first tokens, where they spell it exactly."""
    tokens = logprobs.content or () if isinstance(logprobs, Logprobs) else ()
    size = 0
    for number, token in enumerate(tokens, start=1):
        size += len(token.token)
        if size >= len(text):
            return tokens_evidence(text, tokens[:number], alternatives=alternatives)
    return evidence(text, logprobs, alternatives=alternatives)


def calls_evidence(arguments: Sequence[str], logprobs: Read) -> Evidence:
    """The evidence of an answer that is tool calls."""
    if isinstance(logprobs, Unmeasured):
        return Evidence("\n".join(arguments), token_logprobs=logprobs)
    tokens = (logprobs and logprobs.content) or []
    return call_evidence(arguments, [token.token for token in tokens], [token.logprob for token in tokens])


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


#: What a request for samples does not take over of the client's: it is no stream, is read by the gate alone,
#: and has a seed of its own or none.
_NOT_SAMPLED = ("stream", "stream_options", "seed", "store", "metadata", "n")
#: These are the route's for samples, or the model's own.
_SAMPLED_AT = ("temperature", "top_p")


def as_samples(fields: dict[str, Raw], ask: Ask) -> None:
    """Make a request's ``fields`` ask for ``ask.samples`` answers that nobody else shall see or keep."""
    for name in _NOT_SAMPLED:
        fields.pop(name, None)
    sampled_at(fields, ask)
    if not ask.logprobs:
        fields.pop("logprobs", None)
        fields.pop("top_logprobs", None)
    if ask.samples > 1:
        fields["n"] = Raw(b"%d" % ask.samples)
    if ask.seed is not None:
        fields["seed"] = Raw(b"%d" % ask.seed)
    if ask.max_tokens is not None:
        name = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
        fields[name] = Raw(b"%d" % ask.max_tokens)


def sampled_at(fields: dict[str, Raw], ask: Ask) -> None:
    """Leave what the client's answer is drawn with out of a request for samples."""
    for name in _SAMPLED_AT:
        if name not in ask.params:
            fields.pop(name, None)


def count_usage(fields: dict[str, Raw]) -> None:
    """Make a stream's request ask for its usage, beside the client's own ``stream_options``."""
    options = msgspec.json.decode(fields.get("stream_options", b"null"), type=dict[str, Raw] | None)
    fields["stream_options"] = Raw(msgspec.json.encode({**(options or {}), "include_usage": True}))


def for_client(request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
    """What to make of an upstream's answer or chunk so that its logprobs are those that the client asked for.

    None: nothing, they are.
    """
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return partial(with_logprobs, null)
    if ask.top_logprobs > request.top_logprobs:
        return partial(with_logprobs, partial(first_tops, k=request.top_logprobs))
    return None


_SPANS = msgspec.json.Decoder(Spans)


def with_logprobs(replacement: Callable[[Raw], bytes], body: bytes) -> bytes:
    """The body with the logprobs of each choice replaced."""
    return replace_logprobs(body, [choice.logprobs for choice in _SPANS.decode(body).choices], replacement)


def first_tops(raw: Raw, *, k: int) -> bytes:
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
    except UNREADABLE:
        return bytes(raw)  # malformed: the upstream's own, as the client would have had them
    return msgspec.json.encode(fields)
