"""The parts of OpenAI's responses that gating reads, and what an abstention looks like in them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from gating.types import Evidence, Unmeasured
from proxy.surfaces import sse
from proxy.surfaces.chat import wire as chat
from proxy.surfaces.contract import Choice, VendorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Ask, Request

#: What a request names to get logprobs.
INCLUDE: Final = "message.output_text.logprobs"


class TextFormat(Struct):
    """Of a request."""

    type: str = "text"


class TextOptions(Struct):
    """Of a request."""

    format: TextFormat | None = None


class ResponsesRequest(Struct):
    """What gating must know of a request; bounds are OpenAI's own."""

    model: str
    input: str | list[Any] | None = None
    stream: bool | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: Annotated[int, Meta(ge=0)] | None = None
    background: bool | None = None
    conversation: Any = None
    text: TextOptions | None = None
    idk: chat.Override | None = None

    @property
    def ungateable(self) -> str | None:
        """What lets an answer out beside the gate."""
        if self.background:
            return "background: the answer would be fetched later, past the gate"
        if self.conversation is not None:
            return "conversation: a withheld answer could be read among its items"
        return None


class Part(Struct):
    """A part of a message's content."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: Any = None


class Item(Struct):
    """One item of the output: a message, reasoning, a call."""

    type: str = ""
    id: str | None = None
    content: list[Part] | None = None
    arguments: str | None = None


class Usage(Struct):
    """What the upstream counted."""

    input_tokens: chat.Count | None = None
    output_tokens: chat.Count | None = None


class Incomplete(Struct):
    """Why an answer ended early."""

    reason: str | None = None


class ResponseObject(Struct):
    """A whole answer."""

    output: list[Item]
    id: str | None = None
    model: Any = None
    status: str | None = None
    error: VendorError | None = None
    incomplete_details: Incomplete | None = None
    usage: Usage | None = None


_TOKENS: Final[Mapping[bool, msgspec.json.Decoder[Any]]] = {
    False: msgspec.json.Decoder(list[chat.Token] | None),
    True: msgspec.json.Decoder(list[chat.RankedToken] | None),
}
#: Items that hold nothing a client acts on: words, thoughts, and what a server-side tool did on the way.
_NO_CALL: Final = frozenset({"message", "reasoning", "compaction"})
_SERVER_SIDE: Final = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
    }
)


def choice_of(response: ResponseObject, ask: Ask) -> Choice:
    """The one choice of an answer: all its messages' texts, with their tokens."""
    parts = [part for item in response.output if item.type == "message" for part in item.content or ()]
    texts = [part for part in parts if part.type == "output_text"]
    text = "".join(part.text or "" for part in texts)
    calls = [item for item in response.output if item.type not in _NO_CALL | _SERVER_SIDE]
    return Choice(
        index=0,
        # The format has no logprobs for what a call says: it is unmeasured.
        evidence=Evidence("\n".join(item.arguments or "" for item in calls))
        if calls and ask.gate_tools
        else evidence_of_parts(text, [part.logprobs for part in texts], ask),
        finish_reason=_finish_reason(response),
        tool_call=bool(calls),
        refusal=not text and any(part.type == "refusal" for part in parts),
        words=evidence_of_parts(text, [part.logprobs for part in texts], ask)
        if calls and ask.gate_tools and text
        else None,
    )


def evidence_of_parts(text: str, logprobs: Sequence[Any], ask: Ask) -> Evidence:
    """The evidence of texts that were joined; a part without logprobs leaves the whole unmeasured."""
    tokens: list[chat.Token] = []
    for given in logprobs:
        read = tokens_of(given, ask)
        if isinstance(read, Unmeasured):
            return Evidence(text, token_logprobs=read)
        tokens += read
    return chat.tokens_evidence(text, tokens, alternatives=ask.alternatives)


def tokens_of(given: Any, ask: Ask) -> list[chat.Token] | Unmeasured:
    """Logprobs as they stand in a part or in an event."""
    try:
        # As bytes again, since a token's own bytes stay unread.
        return _TOKENS[ask.alternatives > 0].decode(msgspec.json.encode(given)) or []
    except msgspec.ValidationError:
        return Unmeasured("malformed logprobs")


def _finish_reason(response: ResponseObject) -> str:
    if response.status != "incomplete":
        return "stop"
    reason = response.incomplete_details.reason if response.incomplete_details else None
    return "length" if reason == "max_output_tokens" else reason or "incomplete"


# What goes to the client


def as_sample(fields: dict[str, Raw], ask: Ask) -> None:
    """Make a request's ``fields`` ask for an answer that nobody else shall see or keep."""
    for name in ("stream", "stream_options", "metadata", "background"):
        fields.pop(name, None)
    chat.sampled_at(fields, ask)
    fields["store"] = Raw(b"false")
    if ask.max_tokens is not None:
        fields["max_output_tokens"] = Raw(b"%d" % ask.max_tokens)


def for_client(request: Request, ask: Ask) -> Callable[[Any], Any] | None:
    """What makes the logprobs of a decoded object or event those that the client asked for; None: they are."""
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return lambda value: _with_logprobs(value, lambda _: [])
    if ask.top_logprobs > request.top_logprobs:
        k = request.top_logprobs
        return lambda value: _with_logprobs(value, lambda tokens: [_first_tops(token, k) for token in tokens])
    return None


#: What has logprobs of its own: a part of a message, and the events of its text.
_HAS_LOGPROBS: Final = ("output_text", "response.output_text.delta", "response.output_text.done")


def _with_logprobs(value: Any, change: Callable[[list[Any]], list[Any]]) -> Any:
    if isinstance(value, list):
        return [_with_logprobs(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _with_logprobs(item, change) for name, item in value.items() if name != "logprobs"}
    if "logprobs" in value:
        logprobs = value["logprobs"]
        own = value.get("type") in _HAS_LOGPROBS and isinstance(logprobs, list)
        changed["logprobs"] = change(logprobs) if own else logprobs
    return {name: changed[name] for name in value}


def _first_tops(token: Any, k: int) -> Any:
    if isinstance(token, dict) and isinstance(token.get("top_logprobs"), list):
        return {**token, "top_logprobs": token["top_logprobs"][:k]}
    return token


#: The fields of a response that repeat the request or count: an abstention keeps these alone, since servers add
#: fields of their own that may repeat the text.
ENVELOPE: Final = (
    "object", "created_at", "completed_at", "background", "instructions", "max_output_tokens", "max_tool_calls",
    "metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "temperature", "text",
    "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "usage", "user",
)  # fmt: skip
WITHHELD: Final = "resp_idk_"


def withheld_response(envelope: Mapping[str, Any], text: str, *, json_answer: bool) -> dict[str, Any]:
    """The response that stands for a withheld one.

    It has an id of our own: by the upstream's a client could fetch the answer, or go on from it with
    ``previous_response_id`` and have the model say it again.
    """
    kept = {name: envelope[name] for name in ENVELOPE if name in envelope}
    number = secrets.token_hex(16)
    part = abstention_part(text, json_answer=json_answer)
    message = {"id": f"msg_idk_{number}", "type": "message", "status": "completed", "role": "assistant"}
    return {
        "id": f"{WITHHELD}{number}",
        **kept,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": [{**message, "content": [part]}],
    }


def abstention_part(text: str, *, json_answer: bool) -> dict[str, Any]:
    """The words as content; where the client will parse them, as a refusal."""
    if json_answer:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def abstention_events(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events that a withheld response is streamed as, in OpenAI's order; their numbers are still to come."""
    (item,) = response["output"]
    (part,) = item["content"]
    begun = {**response, "status": "in_progress", "output": []}
    for name in ("completed_at", "usage"):
        begun.pop(name, None)
    refusing = part["type"] == "refusal"
    kind, text = ("refusal", part["refusal"]) if refusing else ("output_text", part["text"])
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {"type": "refusal", "refusal": ""} if refusing else {**part, "text": ""}
    logprobs: dict[str, Any] = {} if refusing else {"logprobs": []}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": empty},
        {"type": f"response.{kind}.delta", **place, "delta": text, **logprobs},
        {"type": f"response.{kind}.done", **place, ("refusal" if refusing else "text"): text, **logprobs},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": dict(response)},
    ]


def response_error_event(exc: HttpError) -> bytes:
    """The event on which OpenAI's SDKs raise."""
    error = {
        "type": "error",
        "code": exc.code,
        "message": exc.message,
        "param": exc.param,
        "sequence_number": 0,
    }
    return b"event: error\n" + sse.event(msgspec.json.encode(error))
