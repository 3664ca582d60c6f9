"""Text that a route adds to the user's last message: worked examples before it, a confidence target after it.

Worked examples, some of them answered "I don't know", teach a model to decline what neither the passages nor its
knowledge answer, and to refuse less of what it knows. This is the inference-time form of what Zhou et al. 2025
(arXiv:2509.01476) found for in-context fine-tuning. The target's wording is that of Kalai et al. 2025, "Why Language
Models Hallucinate" (arXiv:2509.04664), section 4.2: a model that is told the price of a wrong answer can weigh it.
Whether it does, the labels show. Both are text of a message, so every wire format takes them.
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
TARGET = (
    "Answer only if you are > {target:g} confident, since mistakes are penalized {cost:g} points, while correct "
    'answers receive 1 point, and an answer of "I don\'t know" receives 0 points.'
)


@dataclass(frozen=True, slots=True)
class Examples:
    """Worked examples as ``text`` before a question, and the ``digest`` that names them in a fingerprint."""

    text: str
    digest: str

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Examples:
        """Render examples in their order."""
        text = SEPARATOR.join([_BEFORE, *map(_rendered, examples), _AFTER])
        return cls(text, hashlib.sha256(text.encode()).hexdigest()[:12])

    def before(self, surface: Surface, request: Request) -> Request:
        """Return the request with the examples before its last question."""
        return edited_last(surface, request, lambda asked: f"{self.text}{SEPARATOR}{asked}")


def _rendered(example: Example) -> str:
    return SEPARATOR.join([*example.context, f"{example.question}\n{example.answer}"])


def load(given: str | Sequence[Example], folder: Path, place: str) -> Examples:
    """Return the examples of a list, or of a file with one JSON object a line; raises ConfigError."""
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


def prompted(examples: Examples | None, target: float | None, surface: Surface, request: Request) -> Request:
    """Return the request with the examples before its last question and the confidence target after it."""
    if examples is not None:
        request = examples.before(surface, request)
    if target is None:
        return request
    words = TARGET.format(target=target, cost=round(target / (1.0 - target), 4))
    return edited_last(surface, request, lambda asked: f"{asked}{SEPARATOR}{words}")
