"""Reading saved JSON values, with one clear error that names the key and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gating.types import GatingError

REMEDY = "tune the policy again, or read it with the idk that wrote it"


@dataclass(frozen=True, slots=True)
class Saved:
    """A JSON object at ``place``, the dotted path that errors name."""

    values: Mapping[str, Any]
    place: str

    def __post_init__(self) -> None:
        """Refuse what is no object."""
        if not isinstance(self.values, Mapping):
            raise GatingError(f"{self.place}: must be an object, not {self.values!r}; {REMEDY}")

    def get(self, key: str) -> Any:
        """Whatever stands at ``key``, which must be there."""
        if key not in self.values:
            raise GatingError(f"{self.place}.{key}: is missing; {REMEDY}")
        return self.values[key]

    def wrong(self, key: str, noun: str) -> GatingError:
        """The error for a value that is not ``noun``."""
        return GatingError(f"{self.place}.{key}: must be {noun}, not {self.values[key]!r}; {REMEDY}")

    def text(self, key: str) -> str:
        """A string."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def count(self, key: str) -> int:
        """A whole number >= 0."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, "a whole number >= 0")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A finite number, or None where null stands."""
        return None if self.get(key) is None else self.number(key)

    def object(self, key: str) -> Saved:
        """A JSON object."""
        return Saved(self.get(key), f"{self.place}.{key}")

    def objects(self, key: str) -> list[Saved]:
        """A list of JSON objects."""
        values = self.get(key)
        if not isinstance(values, list):
            raise self.wrong(key, "a list")
        return [Saved(value, f"{self.place}.{key}[{position}]") for position, value in enumerate(values)]

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        values = self.get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "a list of strings")
        return values
