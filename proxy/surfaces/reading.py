"""A client's body: the part that gating reads, typed, and the bytes of every field."""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.bodies import check_utf8, decode
from proxy.server.body_thread import LARGE, pause
from proxy.surfaces.field_table import NAMES

Shape = TypeVar("Shape")
_KEY: Final = re.compile(rb'[\s{,]*("(?:[^"\\]|\\.)*")\s*:\s*')
_END: Final = re.compile(rb"\s*}?\s*\Z")
_TWICE: Final = "the body has two fields of one name; send each field once"
_NAME: Final = msgspec.json.Decoder(str)


class Fields(Generic[Shape]):
    """Decodes bodies of one shape."""

    def __init__(self, shape: type[Shape]) -> None:
        self._shape = msgspec.json.Decoder(shape)
        self._fields = msgspec.json.Decoder(dict[str, Raw])

    def __call__(self, body: bytes) -> tuple[Shape, dict[str, Raw]]:
        """Both; raises BadRequest, which names the field."""
        try:
            check_utf8(body)
            read, fields = decode(self._shape, body), self._fields.decode(body)
        except msgspec.ValidationError as exc:
            message, _, place = str(exc).partition(" - at `$")
            param = place.rstrip("`").lstrip(".") or None
            raise BadRequest(f"{param or 'the body'}: {message}", param=param) from exc
        except UNREADABLE as exc:
            raise BadRequest(f"the body is not JSON: {exc}") from exc
        _check_names(fields, body)
        return read, fields


def _check_names(fields: dict[str, Raw], body: bytes) -> None:
    """Raise BadRequest on names that servers may read differently: in another case, or twice.

    Servers in Go read ``Model`` as ``model``. Of two fields of one name, some servers take the first and some the last.
    """
    for name in fields:
        if name not in NAMES and name.casefold() in NAMES:
            raise BadRequest(
                f"{name}: write {name.casefold()}; some servers would read it as that", param=name
            )
    place = 0
    for name, value in fields.items():
        found = _KEY.match(body, place)
        if found is None or _NAME.decode(found[1]) != name or not _is_at(body, found.end(), value):
            raise BadRequest(_TWICE)
        place = found.end() + len(memoryview(value))
    if _END.match(body, place) is None:
        raise BadRequest(_TWICE)


def _is_at(body: bytes, place: int, value: Raw) -> bool:
    """Return whether ``value`` is at ``place`` of the body; large values are compared in pieces."""
    view = memoryview(value)
    for start in range(0, len(view), LARGE):
        piece = bytes(view[start : start + LARGE])
        if not body.startswith(piece, place + start):
            return False
        pause()
    return True


def is_text(value: Raw) -> bool:
    """Whether this is a JSON string; told without a copy of it."""
    return bytes(memoryview(value)[:1]) == b'"'
