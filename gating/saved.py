"""Reading of saved JSON values, with errors that name the key and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gating.types import GatingError

REMEDY = "tune the policy again, or read it with the version of idk that wrote it"

#: The largest count of labels: exact binomial bounds of larger counts take seconds and gigabytes.
MAX_COUNT = 100_000_000


def _shown(value: object) -> str:
    """Return a short representation of a wrong value."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "an integer of more than 64 bits"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond the range of a double
        return False


def _is_unicode(text: str) -> bool:
    """Return whether a string has no half of a surrogate pair, which no UTF-8 file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Saved:
    """A JSON object at ``place``, the dotted path that errors name."""

    values: Mapping[str, Any]
    place: str

    def __post_init__(self) -> None:
        """Raise GatingError unless the value is a JSON object."""
        if not isinstance(self.values, Mapping):
            raise GatingError(f"{self.place}: must be an object, not {_shown(self.values)}; {REMEDY}")

    def get(self, key: str) -> Any:
        """Return the value at ``key``; raises GatingError where it is missing."""
        if key not in self.values:
            raise GatingError(f"{self.place}.{key}: is missing; {REMEDY}")
        return self.values[key]

    def wrong(self, key: str, noun: str) -> GatingError:
        """Return the error for a value at ``key`` that is not ``noun``."""
        return GatingError(f"{self.place}.{key}: must be {noun}, not {_shown(self.values[key])}; {REMEDY}")

    def text(self, key: str) -> str:
        """Return the string at ``key``."""
        value = self.get(key)
        if not isinstance(value, str) or not _is_unicode(value):
            raise self.wrong(key, "a string")
        return value

    def count(self, key: str) -> int:
        """Return the whole number at ``key``, from 0 to MAX_COUNT."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
            raise self.wrong(key, f"a whole number from 0 to {MAX_COUNT:,}")
        return value

    def number(self, key: str) -> float:
        """Return the finite number at ``key``."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """Return the finite number at ``key``, or None for null."""
        return None if self.get(key) is None else self.number(key)

    def object(self, key: str) -> Saved:
        """Return the JSON object at ``key``."""
        return Saved(self.get(key), f"{self.place}.{key}")

    def objects(self, key: str) -> list[Saved]:
        """Return the list of JSON objects at ``key``."""
        values = self.get(key)
        if not isinstance(values, list):
            raise self.wrong(key, "a list")
        return [Saved(value, f"{self.place}.{key}[{position}]") for position, value in enumerate(values)]

    def texts(self, key: str) -> list[str]:
        """Return the list of strings at ``key``."""
        values = self.get(key)
        if not isinstance(values, list) or not all(
            isinstance(value, str) and _is_unicode(value) for value in values
        ):
            raise self.wrong(key, "a list of strings")
        return values
