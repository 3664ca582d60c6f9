"""Editing the texts of a chat's messages; what is not edited keeps its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.bodies import decode, encode

if TYPE_CHECKING:
    from proxy.surfaces.contract import Edit

#: Of a chat, and of a response's input. No set: what is looked for may be a list.
_TEXTS = ("text", "input_text", "output_text")
_TEXT = msgspec.json.Decoder(str)
_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]])
_NOTHING: tuple[object, ...] = (None, "", [])


def edited_text(value: Raw, role: str, edit: Edit) -> Raw | None:
    """A JSON string through ``edit`` as the text of a message of ``role``; None where nothing is left of it."""
    text = decode(_TEXT, value)
    new = edit(role, None, text)
    if new is None:
        return None
    if new == text:
        return value
    return Raw(encode(new, len(memoryview(value))))


def edited_messages(messages: Raw, edit: Edit) -> Raw:
    """The messages with their texts through ``edit``; one whose texts all went is left out.

    An assistant's calls whose results (role ``tool``) were left out go with them: a call without its result
    is refused by upstreams. Raises BadRequest on what is no message.
    """
    try:
        read = decode(_MESSAGES, messages)
    except UNREADABLE as exc:
        raise BadRequest(f"messages: each must be an object: {exc}", param="messages") from exc
    kept: list[dict[str, Any]] = []
    gone: list[object] = []
    for message in read:
        new = _edited(message, edit)
        if new is not None:
            kept.append(new)
        elif message.get("role") == "tool":
            gone.append(message.get("tool_call_id"))
    if gone:
        kept = [left for message in kept if (left := _without_calls(message, gone)) is not None]
    if kept == read:
        return messages
    return Raw(encode(kept, len(memoryview(messages))))


def _edited(message: dict[str, Any], edit: Edit) -> dict[str, Any] | None:
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
    if not (isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)):
        return part
    text = edit(role, name, part["text"])
    return None if text is None else part | {"text": text}


def _without_calls(message: dict[str, Any], gone: list[object]) -> dict[str, Any] | None:
    calls = message.get("tool_calls")
    if message.get("role") != "assistant" or not isinstance(calls, list):
        return message
    left = [call for call in calls if not (isinstance(call, dict) and call.get("id") in gone)]
    if len(left) == len(calls):
        return message
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    if left:
        return rest | {"tool_calls": left}
    return None if rest.get("content") in _NOTHING else rest
