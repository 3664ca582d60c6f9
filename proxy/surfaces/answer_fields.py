"""The fields around an upstream's answer that several formats share: identity and usage.

Upstreams may send any JSON value in any of them. Here only values of the expected kind are used; an answer never fails
because of the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from proxy.exceptions import UNREADABLE
from proxy.surfaces.request_fields import is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.surfaces.contract import Extra

#: The encoded value of a field that is absent.
ABSENT: Final = Raw(b"null")
#: Names of models, ids and the like: one word of the characters that servers use in them. Other text is not repeated
#: beside an abstention, since it might be the answer.
_IDENTIFIER: Final = re.compile(r"[\w.:/@+=-]{1,256}", re.ASCII)
#: Fields around an answer that an abstention repeats if they are identifiers.
_REPEATED: Final = ("id", "model", "system_fingerprint", "service_tier")
#: Token counts that an abstention repeats, at the top of ``usage`` and in its details (OpenAI, Anthropic).
_COUNTS: Final = frozenset(
    {
        "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens",
        "reasoning_tokens", "audio_tokens", "text_tokens", "image_tokens", "accepted_prediction_tokens",
        "rejected_prediction_tokens", "cache_write_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    }
)  # fmt: skip
_DETAILS: Final = frozenset(
    {"prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"}
)
#: The largest count that is taken for one (RFC 8259, section 6: integers that every reader holds exactly).
_MOST: Final = 2**53


class _Head(Struct):
    id: Raw = ABSENT
    model: Raw = ABSENT


_HEAD = msgspec.json.Decoder(_Head)
_TEXT = msgspec.json.Decoder(str)


def head_of(chunk: bytes) -> tuple[str | None, str | None]:
    """Return the id and the model that a chunk of an answer names."""
    try:
        head = _HEAD.decode(chunk)
    except UNREADABLE:
        return None, None
    return text_of(head.id), text_of(head.model)


def text_of(value: object) -> str | None:
    """Return an id or a model's name, encoded or not; None if it is empty or not a string."""
    if isinstance(value, Raw):
        value = _TEXT.decode(value) if is_text(value) else None
    return value if isinstance(value, str) and value else None


def value_of(raw: Raw | bytes) -> Any:
    """Decode any JSON value; None if it cannot be decoded."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return None


def envelope(heads: Iterable[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Return the fields around an abstention, ``object`` being ``kind``: the first usable value of each in ``heads``.

    The values are rebuilt from identifiers and numbers, so that no text of a withheld answer is among them.
    """
    found: dict[str, Any] = {"object": kind}
    for head in heads:
        for name in _REPEATED:
            if name not in found and (text := identifier(head.get(name))) is not None:
                found[name] = text
        created = _plain(head.get("created"))
        if is_count(created) and not found.get("created"):
            found["created"] = created
        if "id" in found and "model" in found:
            break
    return found


def identifier(value: object) -> str | None:
    """Return a value, encoded or not, if it is an identifier."""
    text = text_of(value)
    return text if text is not None and _IDENTIFIER.fullmatch(text) else None


def _plain(value: Any) -> Any:
    """Return a value that may be encoded, decoded."""
    return value_of(value) if isinstance(value, Raw) else value


def is_count(value: object) -> bool:
    """Return whether a value is a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def count_of(usage: Mapping[str, Any], name: str) -> int | None:
    """Return one count of a decoded ``usage``; None if it is absent or not a count."""
    value = usage.get(name)
    return value if is_count(value) else None


def counts(usage: object) -> dict[str, Any]:
    """Return the known token counts of a ``usage``, encoded or not, and nothing else of it."""
    usage = _plain(usage)
    if not isinstance(usage, dict):
        return {}
    found: dict[str, Any] = {}
    for name, value in usage.items():
        if name in _COUNTS and is_count(value):
            found[name] = value
        elif name in _DETAILS and isinstance(value, dict):
            found[name] = {key: count for key, count in value.items() if key in _COUNTS and is_count(count)}
    return found


def counted(usage: Mapping[str, Any], extra: Extra) -> dict[str, Any]:
    """Return ``usage`` with the tokens of ``extra`` added; counts that the upstream did not give stay absent."""
    more = {
        "prompt_tokens": extra.prompt_tokens,
        "completion_tokens": extra.completion_tokens,
        "input_tokens": extra.prompt_tokens,
        "output_tokens": extra.completion_tokens,
        "total_tokens": extra.prompt_tokens + extra.completion_tokens,
    }
    return {
        name: value + more[name] if name in more and isinstance(value, int) else value
        for name, value in usage.items()
    }


def with_usage(body: bytes, extra: Extra) -> bytes:
    """Return an answer or a chunk whose usage counts ``extra`` too; without a usage it is returned unchanged."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        usage = msgspec.json.decode(fields.get("usage", b"null"), type=dict[str, Any] | None)
    except UNREADABLE:
        return body
    return msgspec.json.encode({**fields, "usage": counted(usage, extra)}) if usage else body
