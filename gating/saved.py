"""Reading of saved JSON values, with errors that name the key and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gating.types import GatingError

REMEDY = "tune the policy again, or read it with the version of idk that wrote it"


@dataclass(frozen=True, slots=True)
class Saved:
    """A JSON object at ``place``, the dotted path that errors name."""

    values: Mapping[str, Any]
    place: str

    def __post_init__(self) -> None:
        """Raise GatingError unless the value is a JSON object."""
        if not isinstance(self.values, Mapping):
            raise GatingError(f"{self.place}: must be an object, not {self.values!r}; {REMEDY}")

    def get(self, key: str) -> Any:
        """Return the value at ``key``; raises GatingError where it is missing."""
        if key not in self.values:
            raise GatingError(f"{self.place}.{key}: is missing; {REMEDY}")
        return self.values[key]

    def wrong(self, key: str, noun: str) -> GatingError:
        """Return the error for a value at ``key`` that is not ``noun``."""
        return GatingError(f"{self.place}.{key}: must be {noun}, not {self.values[key]!r}; {REMEDY}")

    def text(self, key: str) -> str:
        """Return the string at ``key``."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def count(self, key: str) -> int:
        """Return the whole number >= 0 at ``key``."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, "a whole number >= 0")
        return value

    def number(self, key: str) -> float:
        """Return the finite number at ``key``."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
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
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "a list of strings")
        return values
