"""Errors of upstreams, read in every form in which servers write them.

    {"error": {"message", "type", "param", "code"}}   OpenAI, Anthropic
    {"error": "text"}, {"error": "Bad Request", "message": "text"}
    {"detail": "text"}, {"detail": [{"loc", "msg", "type"}]}   FastAPI
    {"message": "text", "type", "param", "code"}   vLLM
    {"errors": [...]}
    a list around any of these, a server-sent event with one of them, and plain JSON text

A message that is an object or a list is shown as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.exceptions import UNREADABLE, UpstreamStatus
from proxy.surfaces.contract import VendorError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The members that hold the error itself, in the order in which they are looked at.
_INNER: Final = ("error", "errors", "detail", "details")
#: The members that hold a message.
_MESSAGES: Final = ("message", "msg", "error_message", "error_description", "title", "reason")
#: No known server nests an error deeper.
_MAX_DEPTH: Final = 5
#: The most errors of a list that are shown.
_MAX_LISTED: Final = 5


def read_error(body: bytes) -> VendorError | None:
    """Return the error in a response body; None where the body holds none."""
    text = body.strip()
    if text.startswith((b"data:", b"event:", b":")):
        lines = (line for line in text.splitlines() if line.startswith(b"data:"))
        events = (line.removeprefix(b"data:").strip() for line in lines)
        return next((error for event in events if (error := read_error(event)) is not None), None)
    try:
        return error_in(msgspec.json.decode(text))
    except UNREADABLE:
        return None


def reported_error(body: bytes) -> VendorError | None:
    """Return the error that a body without an answer reports in a member for errors; None where it has none.

    Unlike ``read_error``, this does not take any text for an error: the body may be an answer in another format.
    """
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    value = value[0] if isinstance(value, list) and value else value
    if not isinstance(value, dict):
        return None
    if "error" not in (value.get("object"), value.get("type")) and not any(
        value.get(name) for name in _INNER
    ):
        return None
    return error_in(value) or VendorError()


def error_in(value: object, depth: int = 0) -> VendorError | None:
    """Return the error in a decoded JSON value; None where the value holds none."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, str):
        return VendorError(message=value) if value.strip() else None
    if isinstance(value, list):
        return _joined([error_in(each, depth + 1) for each in value[:_MAX_LISTED]])
    return _of_object(value, depth) if isinstance(value, dict) else None


def stream_error(value: object) -> UpstreamStatus:
    """Return the error of an event inside a stream, as ``as_status`` does."""
    return as_status(error_in(value) or VendorError(), "the upstream failed in the middle of its answer")


def as_status(error: VendorError, default: str) -> UpstreamStatus:
    """Return the error of a response with status 200: the status is its code where that is an HTTP status, or 502."""
    code = error.code_text
    is_status = code is not None and len(code) == 3 and code.isascii() and code.isdigit()
    status = int(code) if is_status and code is not None and 400 <= int(code) < 600 else 502
    return UpstreamStatus(
        error.message or default, status=status, type=error.type, param=error.param, code=code
    )


def _of_object(value: Mapping[str, Any], depth: int) -> VendorError | None:
    message = next((value[name] for name in _MESSAGES if value.get(name)), None)
    inner = None
    for name in _INNER:
        inner = error_in(value.get(name), depth + 1)
        if inner is not None:
            break
    kind, param, code = (_text(value.get(name)) for name in ("type", "param", "code"))
    if inner is not None and message is None:
        message = inner.message
    if message is None:
        return inner
    if inner is not None:
        # ``error`` may be a short name beside the message, such as "Bad Request".
        kind = inner.type or kind or (inner.message if inner.message != message else None)
        param, code = inner.param or param, inner.code_text or code
    place = value.get("loc")
    if isinstance(place, list):
        param = ".".join(str(each) for each in place if each != "body") or param
        message = f"{param}: {_shown(message)}" if param else message
    return VendorError(message=_shown(message), type=kind, param=param, code=code)


def _joined(errors: list[VendorError | None]) -> VendorError | None:
    """Return the first error with the messages of all."""
    found = [each for each in errors if each is not None]
    if not found:
        return None
    messages = [each.message for each in found if each.message]
    return msgspec.structs.replace(found[0], message="; ".join(messages) or None)


def _shown(message: object) -> str:
    return message if isinstance(message, str) else msgspec.json.encode(message).decode()


def _text(value: object) -> str | None:
    """Return a name or a number as text; None for other types, which have no meaning in these members."""
    return (
        str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
    )
