"""What an upstream calls its answer, and the model that gave it: names that should be text and may be anything."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from proxy.surfaces.reading import is_text

#: One that is absent; what came is looked at as bytes, since nobody needs to build anything but text.
UNREAD: Final = Raw(b"null")


class _Head(Struct):
    id: Raw = UNREAD
    model: Raw = UNREAD


_HEAD = msgspec.json.Decoder(_Head)
_TEXT = msgspec.json.Decoder(str)


def head_of(chunk: bytes) -> tuple[str | None, str | None]:
    """What a chunk says of its whole answer: the id and the model."""
    head = _HEAD.decode(chunk)
    return text_of(head.id), text_of(head.model)


def text_of(told: object) -> str | None:
    """An upstream's id, or its model's name, perhaps still as JSON; None where it is no text."""
    if isinstance(told, Raw):
        told = _TEXT.decode(told) if is_text(told) else None
    return told if isinstance(told, str) and told else None
