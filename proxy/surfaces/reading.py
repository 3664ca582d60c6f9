"""A client's body: the part that gating reads, typed, and the bytes of every field."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.bodies import check_utf8, decode

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
            return decode(self._shape, body), self._fields.decode(body)
        except msgspec.ValidationError as exc:
            message, _, place = str(exc).partition(" - at `$")
            param = place.rstrip("`").lstrip(".") or None
            raise BadRequest(f"{param or 'the body'}: {message}", param=param) from exc
        except UNREADABLE as exc:
            raise BadRequest(f"the body is not JSON: {exc}") from exc


def is_text(value: Raw) -> bool:
    """Whether this is a JSON string; told without a copy of it."""
    return bytes(memoryview(value)[:1]) == b'"'
