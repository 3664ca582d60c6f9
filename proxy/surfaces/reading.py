"""A client's body: the part that gating reads, typed, and the bytes of every field."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.large_bodies import DECODING, LARGE, pause, prefault

Shape = TypeVar("Shape")


class Fields(Generic[Shape]):
    """Decodes bodies of one shape."""

    def __init__(self, shape: type[Shape]) -> None:
        self._shape = msgspec.json.Decoder(shape)
        self._fields = msgspec.json.Decoder(dict[str, Raw])

    def __call__(self, body: bytes) -> tuple[Shape, dict[str, Raw]]:
        """Both; raises BadRequest, which names the field."""
        try:
            check_utf8(body)
            prefault(DECODING * len(body))
            read = self._shape.decode(body)
            pause()
            return read, self._fields.decode(body)
        except msgspec.ValidationError as exc:
            message, _, place = str(exc).partition(" - at `$")
            param = place.rstrip("`").lstrip(".") or None
            raise BadRequest(f"{param or 'the body'}: {message}", param=param) from exc
        except UNREADABLE as exc:
            raise BadRequest(f"the body is not JSON: {exc}") from exc


def check_utf8(body: bytes) -> None:
    """Raise UnicodeDecodeError where this is not UTF-8; msgspec does not look into what it takes over unread.

    A piece at a time: whole, one character beyond U+FFFF would have every other take four bytes of memory.
    """
    if body.isascii():
        return
    start = 0
    while start < len(body):
        end = start + LARGE
        for _ in range(3):
            if b"\x80" <= body[end : end + 1] < b"\xc0":
                end -= 1  # to where a character begins
        try:
            str(memoryview(body)[start:end], "utf-8")
        except UnicodeDecodeError as exc:
            raise UnicodeDecodeError("utf-8", body, start + exc.start, start + exc.end, exc.reason) from None
        start = end
        pause()


def is_text(value: Raw) -> bool:
    """Whether this is a JSON string; told without a copy of it."""
    return bytes(memoryview(value)[:1]) == b'"'
