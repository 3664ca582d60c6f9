"""The parts of Anthropic's messages that gating reads, what an abstention looks like in them, and their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from gating.types import Evidence
from proxy.surfaces import sse, thoughts
from proxy.surfaces.answer_fields import count_of, counts, identifier, text_of
from proxy.surfaces.choices import missing_choice
from proxy.surfaces.contract import Choice, Completion
from proxy.surfaces.request_fields import Override

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.exceptions import HttpError

#: Anthropic's word for each of the finish reasons of a chat.
STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_FINISH_REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
#: The type of an error by its status (Anthropic's API reference, "Errors").
_ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessagesRequest(Struct):
    """The fields of a request that gating needs."""

    model: str
    messages: Annotated[list[Raw], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    output_config: dict[str, Any] | None = None
    idk: Override | None = None

    @property
    def json_answer(self) -> bool:
        """Return whether the client will parse the answer as JSON."""
        return bool(self.output_config and self.output_config.get("format"))


# Answers

#: The blocks that a client must answer before the conversation goes on (Anthropic's API reference, "Messages").
_CALLS: Final = frozenset({"tool_use"})
#: The blocks that are known to hold no text of the answer: thoughts, and the work of tools on the server.
_SILENT: Final = frozenset(
    {
        "thinking", "redacted_thinking", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result",
        "code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
        "mcp_tool_use", "mcp_tool_result", "container_upload",
    }
)  # fmt: skip
#: The fields of a message that are known to hold no text of the answer.
_KNOWN: Final = frozenset(
    {
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "usage",
        "container",
        "context_management",
    }
)


class Content(NamedTuple):
    """What the blocks of a message say."""

    text: str = ""
    tool_call: bool = False
    unreadable: str | None = None


def read_content(blocks: Sequence[Any]) -> Content:
    """Read the blocks of a message, whose values may have any type."""
    texts: list[str] = []
    tool_call, unreadable, unknown = False, None, None
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            text = block.get("text")
            if isinstance(text, str):
                texts.append(text)
            elif text is not None:
                unreadable = "a block of text holds no text"
        elif isinstance(kind, str) and kind in _CALLS and isinstance(block.get("name"), str):
            tool_call = True
        elif not isinstance(kind, str) or kind not in _SILENT:
            unknown = unknown or f"the answer has a block of the unknown type {str(kind)[:40]!r}"
    text = "".join(texts)
    if not (text or tool_call):
        unreadable = unreadable or unknown
    return Content(text, tool_call, unreadable)


def completion_of(message: Mapping[str, Any], content: Content | None, body: bytes = b"") -> Completion:
    """Return the completion of a message; ``content`` is None if it has none."""
    usage = counts(message.get("usage"))
    return Completion(
        choices=(missing_choice() if content is None else choice_of(content, message),),
        prompt_tokens=count_of(usage, "input_tokens"),
        completion_tokens=count_of(usage, "output_tokens"),
        body=body,
        id=text_of(message.get("id")),
        model=text_of(message.get("model")),
    )


def choice_of(content: Content, message: Mapping[str, Any]) -> Choice:
    """Return the one choice of an answer; the format has no logprobs."""
    text, has_thoughts = thoughts.visible(content.text)
    unreadable, stop_reason = content.unreadable, message.get("stop_reason")
    if text is None:
        text, unreadable = (
            "",
            unreadable or thoughts.NO_ANSWER,
        )
    if unreadable is None and not (text or content.tool_call):
        unknown = next(
            (name for name, value in message.items() if name not in _KNOWN and _is_text(value)), None
        )
        if unknown is not None:
            unreadable = f"the answer has no text, but an unknown field {unknown[:40]!r}"
    reason = stop_reason if isinstance(stop_reason, str) and stop_reason else None
    return Choice(
        index=0,
        evidence=Evidence(text),
        finish_reason=_FINISH_REASONS.get(reason or "", reason),
        tool_call=content.tool_call and unreadable is None,
        # What the model said before it declined is an answer, and judged as one.
        refusal=reason == "refusal" and not text and not content.tool_call and unreadable is None,
        unreadable=unreadable,
        thoughts=has_thoughts,
    )


def _is_text(value: Any) -> bool:
    return bool(value) and not isinstance(value, int | float)


def without_thoughts(blocks: Sequence[Any]) -> list[Any]:
    """Return the blocks of a message without thoughts in its text, all of which is in the first block of text."""
    text: str | None = thoughts.visible(read_content(blocks).text).text or ""
    kept: list[Any] = []
    for block in blocks:
        if not (isinstance(block, dict) and block.get("type") == "text"):
            kept.append(block)
        elif text is not None:
            kept.append({"type": "text", "text": text})
            text = None
    return kept


def withheld_message(
    message: Mapping[str, Any], model: str, text: str, *, json_answer: bool
) -> dict[str, Any]:
    """Build the message that replaces a withheld one; ``model`` is the one that the client asked for.

    If the client asked for JSON, the stop reason says so, as it does in Anthropic's own refusals.
    """
    id_ = identifier(message.get("id"))
    return {
        **({"id": id_} if id_ else {}),
        "type": "message",
        "role": "assistant",
        "model": identifier(message.get("model")) or model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "refusal" if json_answer else "end_turn",
        "stop_sequence": None,
        "usage": counts(message.get("usage")),
    }


def events_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a message, of which the text is in a single delta."""
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for index, block in enumerate(message["content"]):
        empty, delta = _opened(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        if delta is not None:
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    return [
        *events,
        {"type": "message_delta", "delta": ended, "usage": message["usage"]},
        {"type": "message_stop"},
    ]


def _opened(block: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    """Return a block as a stream begins it, and the delta that completes it."""
    if block.get("type") == "text":
        return {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
    if block.get("type") == "tool_use":
        arguments = msgspec.json.encode(block.get("input") or {}).decode()
        return {**block, "input": {}}, {"type": "input_json_delta", "partial_json": arguments}
    return block, None


# Errors


def error_body(exc: HttpError) -> bytes:
    """Encode Anthropic's error object."""
    return msgspec.json.encode({"type": "error", "error": _error(exc)})


def error_event(exc: HttpError) -> bytes:
    """Encode an error as the event on which Anthropic's SDKs raise."""
    return b"event: error\n" + sse.event(error_body(exc))


def _error(exc: HttpError) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(
        exc.http_status, "api_error" if exc.http_status >= 500 else "invalid_request_error"
    )
    return {"type": kind, "message": exc.message}
