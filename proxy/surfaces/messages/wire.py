"""The parts of Anthropic's messages that gating reads, what an abstention looks like in them, and their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from gating.types import Evidence
from proxy.surfaces import sse
from proxy.surfaces.chat import wire as chat  # noqa: TC001
from proxy.surfaces.contract import Choice
from proxy.surfaces.identity import UNREAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.exceptions import HttpError

#: Anthropic's word for each of the chat's reasons to finish.
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


class Block(Struct):
    """One block of an answer's content."""

    type: str = ""
    text: str | None = None


class Usage(Struct):
    """What the upstream counted."""

    input_tokens: chat.Count | None = None
    output_tokens: chat.Count | None = None


class MessageObject(Struct):
    """A whole answer."""

    content: list[Block]
    id: str | None = None
    model: Raw = UNREAD
    stop_reason: str | None = None
    usage: Usage | None = None


#: Blocks on which the client acts.
_CALLS: Final = frozenset({"tool_use"})


def choice_of(message: MessageObject) -> Choice:
    """The one choice of an answer; the format has no logprobs."""
    text = "".join(block.text or "" for block in message.content if block.type == "text")
    return Choice(
        index=0,
        evidence=Evidence(text),
        finish_reason=_FINISH_REASONS.get(message.stop_reason or "", message.stop_reason),
        tool_call=any(block.type in _CALLS for block in message.content),
        refusal=message.stop_reason == "refusal",
    )


#: The fields of a message that say nothing of its content.
_ENVELOPE: Final = ("id", "type", "role", "model", "usage")


def withheld_message(message: Mapping[str, Any], text: str, *, json_answer: bool) -> dict[str, Any]:
    """The message that stands for a withheld one.

    Where the client will parse the answer it is told as Anthropic's own refusals are, by the stop reason.
    """
    kept = {name: message[name] for name in _ENVELOPE if name in message}
    return {
        **kept,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "refusal" if json_answer else "end_turn",
        "stop_sequence": None,
    }


def error_body(exc: HttpError) -> bytes:
    """Anthropic's error object."""
    return msgspec.json.encode({"type": "error", "error": _error(exc)})


def error_event(exc: HttpError) -> bytes:
    """The event on which Anthropic's SDKs raise."""
    return b"event: error\n" + sse.event(error_body(exc))


def _error(exc: HttpError) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(
        exc.http_status, "api_error" if exc.http_status >= 500 else "invalid_request_error"
    )
    return {"type": kind, "message": exc.message}
