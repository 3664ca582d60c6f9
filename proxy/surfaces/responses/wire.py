"""The parts of OpenAI's responses that gating reads, and what an abstention looks like in them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from gating.types import Evidence, Unmeasured
from proxy.surfaces import sse, thoughts
from proxy.surfaces.answer_fields import count_of, counts, identifier, is_count, text_of
from proxy.surfaces.chat.wire import Said
from proxy.surfaces.chat.wire import choice_of as chat_choice_of
from proxy.surfaces.choices import missing_choice
from proxy.surfaces.contract import Completion, VendorError
from proxy.surfaces.request_fields import Override, drop_sampling
from proxy.surfaces.tokens import Logprobs, RankedToken, Token
from proxy.surfaces.vendor_errors import as_status, error_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Ask, Choice, Request

#: The value of ``include`` with which a request gets logprobs.
INCLUDE: Final = "message.output_text.logprobs"

# Requests


class TextFormat(Struct):
    """The format in which a request wants its answer."""

    type: str = "text"


class TextOptions(Struct):
    """The options of a request for the text of its answer."""

    format: TextFormat | None = None


class ResponsesRequest(Struct):
    """The fields of a request that gating needs; the bounds are OpenAI's."""

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
    idk: Override | None = None

    @property
    def ungateable(self) -> str | None:
        """Return the feature of the request that would bypass the gate, with the reason."""
        if self.background:
            return "background: the answer would be fetched later, past the gate"
        if self.conversation is not None:
            return "conversation: a withheld answer could be read among its items"
        return None


def as_sample(fields: dict[str, Raw], ask: Ask) -> None:
    """Change a request's ``fields`` so that it asks for an answer that only the gate reads."""
    for name in ("stream_options", "metadata", "background"):
        fields.pop(name, None)
    drop_sampling(fields, ask)
    fields["stream"] = Raw(b"false")
    fields["store"] = Raw(b"false")
    if ask.max_tokens is not None:
        fields["max_output_tokens"] = Raw(b"%d" % ask.max_tokens)


# Answers

#: The items that a client must answer before the conversation goes on (OpenAI's API reference, "The response object",
#: ``output``). An item of any other type, or of a future one, is not a call: the text beside it is judged.
_CALLS: Final = frozenset(
    {
        "function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call",
        "mcp_approval_request",
    }
)  # fmt: skip
#: The items that are known to hold no text of the answer: thoughts, and the work of tools on the server.
_SILENT: Final = frozenset(
    {
        "reasoning", "compaction", "web_search_call", "file_search_call", "code_interpreter_call",
        "image_generation_call", "mcp_call", "mcp_list_tools",
    }
)  # fmt: skip
#: The types of a message's parts, and the field that holds their text.
_PARTS: Final[Mapping[object, str]] = {"output_text": "text", "text": "text"}
#: The fields of a response that are known to hold no text of the answer.
_KNOWN: Final = frozenset(
    {
        "id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "output", "usage",
        "background", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "conversation",
        "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention",
        "reasoning", "safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools",
        "top_logprobs", "top_p", "truncation", "user", "billing", "frequency_penalty", "presence_penalty",
    }
)  # fmt: skip
_TOKENS: Final[Mapping[bool, msgspec.json.Decoder[Any]]] = {
    False: msgspec.json.Decoder(list[Token] | None),
    True: msgspec.json.Decoder(list[RankedToken] | None),
}


class Output(NamedTuple):
    """What the items of a response say."""

    text: str = ""
    logprobs: Sequence[Any] = ()
    calls: Sequence[str] = ()
    refusal: bool = False
    unreadable: str | None = None


def read_output(items: Sequence[Any]) -> Output:
    """Read the items of a response, whose values may have any type."""
    texts: list[str] = []
    logprobs: list[Any] = []
    calls: list[str] = []
    refusal, unreadable, unknown = False, None, None
    for item in items:
        kind = item.get("type", "message" if "content" in item else None) if isinstance(item, dict) else None
        if kind == "message":
            for part in _parts(item.get("content")):
                if isinstance(part, str):
                    unreadable = unreadable or part
                elif part.get("type") == "refusal":
                    refusal = refusal or bool(part.get("refusal"))
                else:
                    texts.append(part["text"])
                    logprobs.append(part.get("logprobs"))
        elif isinstance(kind, str) and kind in _CALLS:
            arguments = item.get("arguments", item.get("input", ""))
            calls.append(arguments if isinstance(arguments, str) else "")
        elif not isinstance(kind, str) or kind not in _SILENT:
            unknown = unknown or f"the answer has an item of the unknown type {str(kind)[:40]!r}"
    text = "".join(texts)
    if not (text or calls):
        unreadable = unreadable or unknown
    return Output(text, logprobs, calls, refusal, unreadable)


def _parts(content: Any) -> Iterator[Any]:
    """Return the parts of a message's content: text, refusals, and in place of any other part why it is unreadable."""
    if isinstance(content, str):
        yield {"type": "output_text", "text": content}
        return
    if content is None:
        return
    if not isinstance(content, list):
        yield "the content is neither text nor a list of parts"
        return
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        field = {"refusal": "refusal", **_PARTS}.get(kind) if isinstance(kind, str) else None
        text = None if field is None else part.get(field)
        if isinstance(text, str):
            yield part
        elif field is None or text is not None:
            yield "the content has a part that is not text"


def choice_of(output: Output, response: Mapping[str, Any], ask: Ask) -> Choice:
    """Return the one choice of an answer: the texts of all its messages, with their tokens."""
    unreadable = output.unreadable
    if unreadable is None and not (output.text or output.calls or output.refusal):
        unknown = next(
            (name for name, value in response.items() if name not in _KNOWN and _is_text(value)), None
        )
        if unknown is not None:
            unreadable = f"the answer has no text, but an unknown field {unknown[:40]!r}"
    said = Said(output.text, None, output.refusal, unreadable)
    tokens = _all_tokens(output.logprobs, ask)
    read = tokens if isinstance(tokens, Unmeasured) else Logprobs(content=tokens)
    choice = chat_choice_of(said, read, ask, finish_reason=finish_reason(response))
    if not output.calls:
        return choice
    if ask.gate_tools:  # the format has no logprobs for what a call says
        words = choice.evidence if output.text else None
        choice = msgspec.structs.replace(choice, evidence=Evidence("\n".join(output.calls)), words=words)
    return msgspec.structs.replace(choice, tool_call=True, refusal=False)


def _is_text(value: Any) -> bool:
    return bool(value) and not isinstance(value, int | float)


def _all_tokens(logprobs: Sequence[Any], ask: Ask) -> list[Token] | Unmeasured:
    """Return the tokens of several texts; a text without logprobs leaves them short, and the whole unmeasured."""
    tokens: list[Token] = []
    for given in logprobs:
        read = tokens_of(given, ask)
        if isinstance(read, Unmeasured):
            return read
        tokens += read
    return tokens


def tokens_of(given: Any, ask: Ask) -> list[Token] | Unmeasured:
    """Read the decoded logprobs of a part or of an event."""
    try:
        # They are encoded again, since a token's own bytes stay undecoded.
        return _TOKENS[ask.alternatives > 0].decode(msgspec.json.encode(given)) or []
    except msgspec.ValidationError:
        return Unmeasured("malformed logprobs")


def finish_reason(response: Mapping[str, Any]) -> str:
    """Return why an answer ended, in the words of a chat."""
    if response.get("status") != "incomplete":
        return "stop"
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if reason == "max_output_tokens":
        return "length"
    return reason if isinstance(reason, str) and reason else "incomplete"


def check_status(response: Mapping[str, Any]) -> None:
    """Raise UpstreamStatus if a response says that it failed."""
    status, error = response.get("status"), response.get("error")
    if status in ("failed", "cancelled"):
        raise as_status(error_in(error) or VendorError(), f"the upstream's response is {status}")


def completion_of(
    response: Mapping[str, Any], ask: Ask, body: bytes = b"", output: Output | None = None
) -> Completion:
    """Return the completion of a whole response; ``output`` if its items are known otherwise."""
    if output is None:
        items = response.get("output")
        output = read_output(items) if isinstance(items, list) and items else None
    usage = counts(response.get("usage"))
    return Completion(
        choices=(missing_choice() if output is None else choice_of(output, response, ask),),
        prompt_tokens=count_of(usage, "input_tokens"),
        completion_tokens=count_of(usage, "output_tokens"),
        body=body,
        id=text_of(response.get("id")),
        model=text_of(response.get("model")),
    )


# Thoughts


def without_thoughts(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response whose answer has no thoughts in its text, and no logprobs, which would repeat them."""
    text = thoughts.visible(read_output(response["output"]).text).text or ""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    kept: list[Any] = []
    for item in response["output"]:
        if not (isinstance(item, dict) and item.get("type") == "message"):
            kept.append(item)
        elif part:
            kept.append({**item, "content": [part]})
            part = {}  # the text of all messages is in the first one
    return {**response, "output": kept}


def is_call(item: Any) -> bool:
    """Return whether an item is a call that the client must answer."""
    return isinstance(item, dict) and item.get("type") in tuple(_CALLS)


# Logprobs for the client


def for_client(request: Request, ask: Ask) -> Callable[[Any], Any] | None:
    """Return what changes the logprobs of a decoded object or event to those that the client asked for.

    None if the upstream was asked for the same ones.
    """
    if not ask.logprobs:
        return None
    if not request.logprobs:
        return lambda value: _with_logprobs(value, lambda _: [])
    if ask.top_logprobs > request.top_logprobs:
        k = request.top_logprobs
        return lambda value: _with_logprobs(value, lambda tokens: [_first_tops(token, k) for token in tokens])
    return None


#: The types of the objects that have logprobs: a part of a message, and the events of its text.
_HAS_LOGPROBS: Final = ("output_text", "response.output_text.delta", "response.output_text.done")


def _with_logprobs(value: Any, change: Callable[[list[Any]], list[Any]]) -> Any:
    """Return a decoded value in which ``change`` was made to all logprobs."""
    if isinstance(value, list):
        return [_with_logprobs(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _with_logprobs(item, change) for name, item in value.items() if name != "logprobs"}
    if "logprobs" in value:
        logprobs = value["logprobs"]
        known = value.get("type") in _HAS_LOGPROBS and isinstance(logprobs, list)
        changed["logprobs"] = change(logprobs) if known else logprobs
    return {name: changed[name] for name in value}


def _first_tops(token: Any, k: int) -> Any:
    """Return a token with its ``k`` most likely alternatives."""
    if isinstance(token, dict) and isinstance(token.get("top_logprobs"), list):
        return {**token, "top_logprobs": token["top_logprobs"][:k]}
    return token


# Abstentions

#: The fields of the request that a response repeats, and their values if the request does not have them.
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
#: The fields that a response repeats only if the request has them: they are texts, never null.
_ECHOED_IF_GIVEN: Final = ("user", "safety_identifier", "prompt_cache_key", "service_tier")
#: Bytes of the request that a response repeats: a stream repeats them three times, on the event loop.
_MOST_ECHOED: Final = 1_000_000
WITHHELD: Final = "resp_idk_"


def echoed(fields: Mapping[str, Raw]) -> dict[str, Any]:
    """Return what a response repeats of its request's ``fields``, as far as it is not too large."""
    return {**_ECHOED, **dict(_repeated(fields))}


def _repeated(fields: Mapping[str, Raw]) -> Iterator[tuple[str, Any]]:
    room = _MOST_ECHOED
    for name in (*_ECHOED, *_ECHOED_IF_GIVEN):
        given = fields.get(name)
        if given is None or len(given) > room:
            continue
        room -= len(given)
        try:
            value = msgspec.json.decode(given)
        except (msgspec.DecodeError, RecursionError):
            continue  # a number that no reader could hold
        if value is not None:
            yield name, value


def withheld_response(
    response: Mapping[str, Any], request: Request, text: str, *, json_answer: bool
) -> dict[str, Any]:
    """Build the response that replaces a withheld one, from the request and the upstream's numbers.

    It has a new id: by the upstream's a client could fetch the answer, or continue from it with
    ``previous_response_id`` and have the model repeat it.
    """
    number = secrets.token_hex(16)
    part = abstention_part(text, json_answer=json_answer)
    message = {"id": f"msg_idk_{number}", "type": "message", "status": "completed", "role": "assistant"}
    created, usage = response.get("created_at"), counts(response.get("usage"))
    return {
        "id": f"{WITHHELD}{number}",
        "object": "response",
        "created_at": created if is_count(created) else 0,
        "model": identifier(response.get("model")) or request.model,
        **echoed(request.origin if request.origin is not None else request.fields),
        **({"usage": usage} if usage else {}),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": [{**message, "content": [part]}],
    }


def abstention_part(text: str, *, json_answer: bool) -> dict[str, Any]:
    """Return the abstention as content, or as a refusal if the client asked for JSON."""
    if json_answer:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def events_of(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a response, in OpenAI's order and without their numbers.

    Its first item is a message of one part; the others are complete items, such as calls.
    """
    item, *others = response["output"]
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
        *(
            {"type": f"response.output_item.{word}", "output_index": number, "item": other}
            for number, other in enumerate(others, 1)
            for word in ("added", "done")
        ),
        {"type": "response.completed", "response": dict(response)},
    ]


def error_event(exc: HttpError) -> bytes:
    """Encode an error as the event on which OpenAI's SDKs raise."""
    return sse.named_event(
        {"type": "error", "code": exc.code, "message": exc.message, "param": exc.param, "sequence_number": 0}
    )
