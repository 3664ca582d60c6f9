"""Editing the texts of a conversation's messages; messages that are not edited keep their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.bodies import decode, encode

if TYPE_CHECKING:
    from proxy.surfaces.contract import Edit

#: The types of the parts that hold text, in a chat and in the input of a response. A tuple, since a part's type may
#: be anything, and a list cannot be looked up in a set.
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
_EMPTY: Final[tuple[object, ...]] = (None, "", [])
_TEXT = msgspec.json.Decoder(str)
_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]])


def edited_text(value: Raw, role: str, edit: Edit) -> Raw | None:
    """Return an encoded string after ``edit``, as the text of a message of ``role``; None if it was removed."""
    text = decode(_TEXT, value)
    new = edit(role, None, text)
    if new is None:
        return None
    if new == text:
        return value
    return Raw(encode(new, len(memoryview(value))))


def edited_messages(messages: Raw, edit: Edit) -> Raw:
    """Return the encoded messages after ``edit``, without those whose texts were all removed.

    If the result of a tool call (role ``tool``) is removed, the assistant's call is removed too: upstreams refuse a
    call without its result. Raises BadRequest if a message is not an object.
    """
    try:
        read = decode(_MESSAGES, messages)
    except UNREADABLE as exc:
        raise BadRequest(f"messages: each must be an object: {exc}", param="messages") from exc
    kept: list[dict[str, Any]] = []
    removed: list[object] = []
    for message in read:
        new = _edited(message, edit)
        if new is not None:
            kept.append(new)
        elif message.get("role") == "tool":
            removed.append(message.get("tool_call_id"))
    if removed:
        kept = [left for message in kept if (left := _without_calls(message, removed)) is not None]
    if kept == read:
        return messages
    return Raw(encode(kept, len(memoryview(messages))))


def _edited(message: dict[str, Any], edit: Edit) -> dict[str, Any] | None:
    """Return one message after ``edit``; None if all of its texts were removed."""
    role, name, content = message.get("role"), message.get("name"), message.get("content")
    role, name = role if isinstance(role, str) else "", name if isinstance(name, str) else None
    if isinstance(content, str):
        text = edit(role, name, content)
        return None if text is None else message | {"content": text}
    if not isinstance(content, list):
        return message
    parts = [left for part in content if (left := _edited_part(role, name, part, edit)) is not None]
    return message | {"content": parts} if parts or not content else None


def _edited_part(role: str, name: str | None, part: Any, edit: Edit) -> Any:
    """Return one part of a message's content after ``edit``; None if its text was removed."""
    if not (isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)):
        return part
    text = edit(role, name, part["text"])
    return None if text is None else part | {"text": text}


def _without_calls(message: dict[str, Any], removed: list[object]) -> dict[str, Any] | None:
    """Return an assistant's message without the tool calls of these ids; None if nothing else is in it."""
    calls = message.get("tool_calls")
    if message.get("role") != "assistant" or not isinstance(calls, list):
        return message
    left = [call for call in calls if not (isinstance(call, dict) and call.get("id") in removed)]
    if len(left) == len(calls):
        return message
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    if left:
        return rest | {"tool_calls": left}
    return None if rest.get("content") in _EMPTY else rest
