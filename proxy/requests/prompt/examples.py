"""Worked examples that a route puts before a question, some of them answered "I don't know".

A model that sees questions declined, because neither passages nor knowledge suffice, declines such questions
itself, and refuses less of what it knows: the form at inference time of what Zhou et al. 2025
(arXiv:2509.01476) found of in-context fine-tuning. They are text before the user's last message, so that every
wire format takes them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from proxy.config import Example
from proxy.exceptions import UNREADABLE, ConfigError
from proxy.requests.prompt.context import SEPARATOR, edited_last

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.surfaces.contract import Request, Surface

_BEFORE = "Worked examples:"
_AFTER = "Now the question:"


@dataclass(frozen=True, slots=True)
class Examples:
    """The ``text`` that is put in front, and what names it in a fingerprint."""

    text: str
    digest: str

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Examples:
        """Rendered, in their order."""
        text = SEPARATOR.join([_BEFORE, *map(_rendered, examples), _AFTER])
        return cls(text, hashlib.sha256(text.encode()).hexdigest()[:12])

    def before(self, surface: Surface, request: Request) -> Request:
        """The request with the examples before its last question."""
        return edited_last(surface, request, lambda asked: f"{self.text}{SEPARATOR}{asked}")


def _rendered(example: Example) -> str:
    return SEPARATOR.join([*example.context, f"{example.question}\n{example.answer}"])


def load(given: str | Sequence[Example], folder: Path, place: str) -> Examples:
    """Those that are given, or those of the file of that name, one JSON object a line; raises ConfigError."""
    if not isinstance(given, str):
        return Examples.of(given)
    path = folder / given
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise ConfigError(f"{place}: {path}: cannot be read: {exc.strerror}") from exc
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=Example))
            except UNREADABLE as exc:
                raise ConfigError(
                    f'{place}: {path}, line {number}: {exc}; write {{"question": …, "answer": …}}, and "context": '
                    "[…] where the example has passages"
                ) from exc
    if not found:
        raise ConfigError(f"{place}: {path}: holds no example")
    return Examples.of(found)
