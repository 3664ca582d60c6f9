"""Changing a few places of encoded JSON without decoding and encoding the rest of it."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.exceptions import UpstreamGarbage
from proxy.server.body_thread import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SPACE = b" \t\r\n"
_QUOTED = b'"logprobs"'
_KEY = _QUOTED + b":"
_VALUE = re.compile(rb'"logprobs"[ \t\r\n]*+:[ \t\r\n]*+(?!null)')
#: The value that OpenAI's API writes for a logprob that is too small to matter; JSON has no -Infinity.
SENTINEL: Final = -9999.0


def replace_logprobs(
    body: bytes, values: Sequence[msgspec.Raw], replacement: Callable[[msgspec.Raw], bytes]
) -> bytes:
    """Return ``body`` with the ``"logprobs"`` of its choices replaced; ``values`` are the present ones, in order.

    The bytes of the key with its quotes cannot be part of a JSON string, where the quotes would be escaped. If the key
    occurs in other fields too, the choices are decoded, so that only their logprobs are replaced, and all of them.
    """
    if len(values) == 1 and (place := _only(body, bytes(values[0]))):
        return b"".join((body[: place.start], replacement(values[0]), body[place.stop :]))
    pieces: list[bytes] = []
    start = 0
    for value in values:
        raw = bytes(value)
        if raw == b"null":
            continue
        at = _next_value(body, start)
        if at is None or not (raw.startswith(b"{") and body.startswith(raw, at)):
            return _rebuilt(body, replacement)
        pieces += (body[start:at], replacement(value))
        start = at + len(raw)
    if _next_value(body, start) is not None:
        return _rebuilt(body, replacement)
    pieces.append(body[start:])
    return b"".join(pieces)


def _only(body: bytes, raw: bytes) -> slice | None:
    """Return the place of ``raw`` if it is the value of the only such key, in the usual spelling: the fast case."""
    start = body.find(_KEY) + len(_KEY)
    end = start + len(raw)
    found = raw[:1] == b"{" and body.startswith(raw, start) and body.find(_QUOTED, end) < 0
    return slice(start, end) if found else None


def _next_value(body: bytes, start: int) -> int | None:
    """Return the start of the next value of a ``"logprobs"`` that is not null."""
    found = _VALUE.search(body, start)
    return found.end() if found else None


def _rebuilt(body: bytes, replacement: Callable[[msgspec.Raw], bytes]) -> bytes:
    """Return ``body`` with the logprobs of its choices replaced, by decoding the choices."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    choices = msgspec.json.decode(fields.get("choices", b"[]"), type=list[dict[str, msgspec.Raw]])
    for choice in choices:
        if bytes(choice.get("logprobs", b"null")) != b"null":
            choice["logprobs"] = msgspec.Raw(replacement(choice["logprobs"]))
    if choices:
        fields["choices"] = msgspec.Raw(msgspec.json.encode(choices))
    return msgspec.json.encode(fields)


def null(_: msgspec.Raw) -> bytes:
    """Return null, the replacement of logprobs that the client did not ask for."""
    return b"null"


def with_field(body: bytes, name: bytes, value: bytes) -> bytes:
    """Return ``body`` with one more field at its end, if it is a JSON object; unchanged if not."""
    if body.lstrip(_SPACE)[:1] != b"{":
        return body
    end = body.rindex(b"}")
    last = end - 1
    while body[last] in _SPACE:
        last -= 1
    comma = b"" if body[last : last + 1] == b"{" else b","
    return b"".join((body[:end], comma, b'"', name, b'":', value, body[end:]))


def strict_json(body: bytes) -> bytes:
    """Encode JSON with NaN and Infinity, as Python reads and writes it, as standard JSON; raises UpstreamGarbage.

    Some servers write a logprob of -inf as ``-Infinity``. It becomes the sentinel; NaN becomes null, which no scorer
    takes for a number. Only bodies up to a megabyte are read, which takes thirty milliseconds.
    """
    if len(body) > LARGE:
        raise UpstreamGarbage("the upstream's answer is not JSON").beginning_with(body)
    try:
        return msgspec.json.encode(_finite(json.loads(body)))
    except (ValueError, RecursionError) as exc:
        raise UpstreamGarbage("the upstream's answer is not JSON").beginning_with(body) from exc


def _finite(value: Any) -> Any:
    """Replace the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return SENTINEL if value == -math.inf else None
    return value
