"""JSON without ambiguity: duplicate keys, huge integers, NaN and lone surrogates are errors."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

#: Digits of the largest integer: it fits into 64 bits, as other programs expect.
_MAX_DIGITS: Final = 18
_COLON: Final = re.compile(rb'"\s*:')


def decode(text: str | bytes) -> Any:
    """Decode JSON; raises ValueError, which says what is wrong (RecursionError where it is nested too deeply)."""
    value = json.loads(
        text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_bounded_integer
    )
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text contains half of a surrogate pair") from None
    return value


def check_line(line: bytes) -> None:
    """Raise ValueError where a line of JSON, which decodes, is ambiguous; fast for lines of numbers.

    Each key of an object is a string before a colon. A line with as many of these as its decoded objects have keys
    has no duplicate keys; any other line is decoded once more, strictly.
    """
    value = msgspec.json.decode(line)
    keys, huge = _keys(value)
    if huge or len(_COLON.findall(line)) != keys:
        decode(line)


def _keys(value: Any) -> tuple[int, bool]:
    """Return the number of keys in all objects, and whether an integer is too large."""
    if isinstance(value, dict):
        found = [_keys(each) for each in value.values()]
        return len(value) + sum(keys for keys, _ in found), any(huge for _, huge in found)
    if isinstance(value, list):
        # Lists of numbers and of texts, the long ones, are of one kind.
        if value and isinstance(value[0], float | str):
            value = [each for each in value if isinstance(each, dict | list | int)]
        found = [_keys(each) for each in value]
        return sum(keys for keys, _ in found), any(huge for _, huge in found)
    return 0, isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} occurs twice in one object; keep one of them")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}; write null")


def _bounded_integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_DIGITS:
        raise ValueError(
            f"an integer has {len(digits.lstrip('-'))} digits; at most {_MAX_DIGITS} are supported"
        )
    return int(digits)
