"""The parts of OpenAI's chat completions that gating reads; every other field stays encoded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from gating.types import Evidence, Unmeasured
from proxy.exceptions import UNREADABLE
from proxy.surfaces import thoughts
from proxy.surfaces.answer_fields import ABSENT, value_of
from proxy.surfaces.choices import has_text, loose_fields, with_logprobs
from proxy.surfaces.contract import Choice
from proxy.surfaces.json_bytes import null
from proxy.surfaces.request_fields import Override, drop_sampling
from proxy.surfaces.tokens import ReadLogprobs, calls_evidence, evidence, words_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.surfaces.contract import Ask, Request

# Requests


class ResponseFormat(Struct):
    """The format in which a request wants its answer."""

    type: str = "text"


class StreamOptions(Struct):
    """The options of a request for a stream."""

    include_usage: bool | None = None


class ChatRequest(Struct):
    """The fields of a request that gating needs; the bounds are OpenAI's."""

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


#: Fields of the client's request that a request for samples does not repeat: samples are no stream, only the gate
#: reads them, and they have their own seed or none.
_NOT_SAMPLED: Final = ("stream", "stream_options", "seed", "store", "metadata", "n")


def as_samples(fields: dict[str, Raw], ask: Ask) -> None:
    """Change a request's ``fields`` so that it asks for ``ask.samples`` answers that only the gate reads."""
    for name in _NOT_SAMPLED:
        fields.pop(name, None)
    drop_sampling(fields, ask)
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


def count_usage(fields: dict[str, Raw]) -> None:
    """Change the ``fields`` of a request for a stream so that it asks for the usage, keeping other options."""
    options = msgspec.json.decode(fields.get("stream_options", b"null"), type=dict[str, Raw] | None)
    fields["stream_options"] = Raw(msgspec.json.encode({**(options or {}), "include_usage": True}))


# Answers

#: The type that the logprobs of a choice are decoded as.
LogprobsType = TypeVar("LogprobsType")


class Message(Struct):
    """The message of an answer, or the delta of a chunk."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None


#: An index that the stores can hold, and a number of tokens that every reader of JSON holds exactly.
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(le=2**53)]


class AnswerChoice(Struct, Generic[LogprobsType]):
    """One choice of an answer."""

    message: Message
    index: Index = 0
    finish_reason: str | None = None
    logprobs: LogprobsType = None  # type: ignore[assignment] # every such type allows None


class Usage(Struct):
    """The token counts of the upstream."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class ChatAnswer(Struct, Generic[LogprobsType]):
    """A whole answer."""

    choices: list[AnswerChoice[LogprobsType]]
    usage: Usage | None = None
    id: Raw = ABSENT
    model: Raw = ABSENT


class ChunkChoice(Struct, Generic[LogprobsType]):
    """One choice of a chunk."""

    index: Index = 0
    delta: Message = msgspec.field(default_factory=Message)
    finish_reason: str | None = None
    logprobs: LogprobsType = None  # type: ignore[assignment] # every such type allows None


class Chunk(Struct, Generic[LogprobsType]):
    """One event of a stream."""

    choices: list[ChunkChoice[LogprobsType]] = []
    usage: Usage | None = None
    error: Any = None
    object: Any = None


class Call(NamedTuple):
    """One tool call, or a piece of one in a delta, which names its function once."""

    arguments: str
    names_function: bool
    place: int | None = None
    id: str | None = None


class Said(NamedTuple):
    """What one message or delta says.

    ``calls`` is None if it calls no tool. ``unreadable`` says why its text, or a part of it, could not be read.
    """

    text: str = ""
    calls: Sequence[Call] | None = None
    refusal: bool = False
    unreadable: str | None = None


#: The fields of a message or delta that are known to hold no text of the answer, beside those that are read.
_KNOWN: Final = frozenset(
    {
        "role", "name", "content", "refusal", "tool_calls", "function_call", "annotations", "reasoning",
        "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "provider_specific_fields",
    }
)  # fmt: skip
#: The fields of a choice that are known to hold no text of the answer, beside the message or delta.
_KNOWN_OF_CHOICE: Final = frozenset(
    {
        "index", "finish_reason", "logprobs", "content_filter_results", "stop_reason",
        "native_finish_reason", "matched_stop", "token_ids",
    }
)  # fmt: skip
#: The types of content parts, and the field that holds their text. Parts of thoughts hold no text of the answer.
_TEXT_PARTS: Final[Mapping[object, str]] = {"text": "text", "output_text": "text"}
_THOUGHT_PARTS: Final = ("thinking", "reasoning", "redacted_thinking")


def said_by(message: Message, unreadable: str | None = None) -> Said:
    """Return what a message says; ``unreadable`` if a part of its text is known to be unreadable."""
    calls = calls_of(message)
    if isinstance(calls, str):
        return Said(message.content or "", unreadable=unreadable or calls)
    return Said(message.content or "", calls, bool(message.refusal), unreadable)


def loose_message(choice: Mapping[str, Raw], name: str = "message") -> tuple[Message, str | None]:
    """Read the message (or the ``delta``) of a choice, whose values may have any type.

    Returns it with the reason why its text, or a part of it, could not be read.
    """
    raw = choice.get(name, ABSENT)
    fields = loose_fields(raw)
    if not fields and (name == "message" or value_of(raw) not in (None, {})):
        return Message(), f"the {name} is missing or not an object"
    text, unreadable = content_text(fields.get("content"))
    refusal = value_of(fields.get("refusal", ABSENT))
    if refusal and not isinstance(refusal, str):
        refusal, unreadable = None, unreadable or "the refusal is not text"
    calls, function = (value_of(fields.get(field, ABSENT)) for field in ("tool_calls", "function_call"))
    if unreadable is None and not (text or refusal or calls or function):
        unreadable = _hidden_text(choice, fields, name)
    return Message(text, refusal or None, calls, function), unreadable


def _hidden_text(choice: Mapping[str, Raw], fields: Mapping[str, Raw], name: str) -> str | None:
    """Return the field in which an apparently empty choice may have its text, as a reason; None if none may."""
    unknown = has_text(fields, _KNOWN) or has_text(choice, _KNOWN_OF_CHOICE | {name})
    return None if unknown is None else f"the {name} has no content, but an unknown field {unknown[:40]!r}"


def content_text(content: Raw | None) -> tuple[str, str | None]:
    """Return the text of a content, which may be a list of parts, and why some of it cannot be read."""
    value = None if content is None else value_of(content)
    if value is None:
        present = content is not None and bytes(content) != b"null"
        return "", "the content cannot be decoded" if present else None
    if isinstance(value, str):
        return value, None
    if not isinstance(value, list):
        return "", "the content is neither text nor a list of parts"
    texts: list[str] = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(_TEXT_PARTS[kind]) if isinstance(kind, str) and kind in _TEXT_PARTS else None
        if isinstance(text, str):
            texts.append(text)
        elif kind not in _THOUGHT_PARTS:
            return "".join(texts), "the content has a part that is not text"
    return "".join(texts), None


def calls_of(message: Message) -> list[Call] | str | None:
    """Return the tool calls of a message or delta, None if it has none, or why they cannot be read."""
    tool_calls, function_call = message.tool_calls, message.function_call
    if not tool_calls and not function_call:
        return None
    if not isinstance(tool_calls or [], list):
        return "the tool calls are not a list"
    if not isinstance(function_call or {}, dict):
        return "the function call is not an object"
    found: list[Call] = []
    for call in tool_calls or []:
        if not isinstance(call, dict):
            return "a tool call is not an object"
        found.append(call_of(call))
    if function_call:
        found.append(call_of({"function": function_call}))
    return found


def call_of(call: Mapping[str, Any]) -> Call:
    """Read one tool call, or a piece of one."""
    function, index, id_ = call.get("function") or call.get("custom"), call.get("index"), call.get("id")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments") or function.get("input") or ""
    return Call(
        arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode(),
        isinstance(function.get("name"), str),
        index if isinstance(index, int) else None,
        id_ if isinstance(id_, str) and id_ else None,
    )


class CallNumbers:
    """Numbers the tool calls of a stream, whose deltas name a call by its index, by its id, by both or by neither.

    Servers leave the index out, or send 0 for every call and different ids (LiteLLM, Gemini, vLLM's parsers).
    """

    def __init__(self) -> None:
        self._count = 0
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._last: int | None = None

    def number(self, call: Call) -> int:
        """Return the number of the call that a delta belongs to."""
        if call.id is not None and call.id in self._by_id:
            number: int | None = self._by_id[call.id]
        else:
            number = self._last if call.place is None else self._by_index.get(call.place)
            if call.id is not None and number in self._by_id.values():
                number = None  # another id: another call
            elif call.place is None and call.id is None and call.names_function:
                number = None
        if number is None:
            number = self._count
            self._count += 1
        if call.id is not None:
            self._by_id[call.id] = number
        if call.place is not None:
            self._by_index[call.place] = number
        self._last = number
        return number


def choice_of(
    said: Said, logprobs: ReadLogprobs, ask: Ask, *, index: int = 0, finish_reason: str | None = None
) -> Choice:
    """Return the choice that says this, with its evidence."""
    text, has_thoughts = thoughts.visible(said.text)
    unreadable, words = said.unreadable, None
    if unreadable is None and said.calls is not None and not all(call.names_function for call in said.calls):
        unreadable = "a tool call names no function"
    if text is None:
        text, unreadable = (
            "",
            unreadable or thoughts.NO_ANSWER,
        )
    if unreadable is not None:
        found = Evidence(text, token_logprobs=Unmeasured(unreadable))
    elif said.calls is not None and ask.gate_tools:
        found = calls_evidence([call.arguments for call in said.calls], logprobs)
        words = words_evidence(text, logprobs, alternatives=ask.alternatives) if text else None
    else:
        found = evidence(text, logprobs, alternatives=ask.alternatives)
    return Choice(
        index=index,
        evidence=found,
        finish_reason=finish_reason,
        tool_call=said.calls is not None,
        # Text beside a refusal is an answer, and judged as one.
        refusal=said.refusal and not text and unreadable is None,
        unreadable=unreadable,
        thoughts=has_thoughts,
        words=words,
    )


def without_thoughts(choice: Mapping[str, Raw], name: str = "message") -> dict[str, Any]:
    """Return a choice of which the text has no thoughts, and no logprobs, which would repeat them."""
    fields = loose_fields(choice.get(name, ABSENT))
    text, _ = content_text(fields.get("content"))
    visible = thoughts.visible(text).text or ""
    return {**choice, name: {**fields, "content": visible}, "logprobs": None}


def abstention(index: int, text: str, *, json_answer: bool) -> dict[str, object]:
    """Return the choice that replaces a withheld one.

    If the client asked for JSON, ``text`` is in ``refusal``, which SDKs read before they parse the content.
    """
    message = {
        "role": "assistant",
        "content": None if json_answer else text,
        "refusal": text if json_answer else None,
    }
    return {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}


# Logprobs for the client


def for_client(request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
    """Return what changes the logprobs of an answer or a chunk to those that the client asked for.

    None if the upstream was asked for the same ones.
    """
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return partial(with_logprobs, null)
    if ask.top_logprobs > request.top_logprobs:
        return partial(with_logprobs, partial(first_tops, k=request.top_logprobs))
    return None


def first_tops(raw: Raw, *, k: int) -> bytes:
    """Return the logprobs with the ``k`` most likely alternatives of each token, which come first."""
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
        return bytes(raw)  # malformed logprobs are passed on as the upstream sent them
    return msgspec.json.encode(fields)
