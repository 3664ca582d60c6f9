"""Examples on either side of the threshold: a few answers of each kind, however many records there are."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gating.tuning import RIGHT, WRONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.records import Record

#: Examples of a kind.
EACH = 4
#: The most characters of a text on the page, so that a long answer does not hide the others.
SHOWN = 280


@dataclass(frozen=True, slots=True)
class Example:
    """One graded answer; texts longer than SHOWN are cut and end with their full length."""

    id: str
    question: str | None
    answer: str
    confidence: float
    right: bool

    @classmethod
    def of(cls, record: Record, confidence: float, outcome: int) -> Example:
        """Build an example from a record, the policy's confidence in [0, 1] and the outcome RIGHT or WRONG."""
        question = None if record.question is None else clipped(record.question)
        return cls(clipped(record.id, 60), question, clipped(record.answer), confidence, outcome == RIGHT)


def clipped(text: str, size: int = SHOWN) -> str:
    """Cut a text after ``size`` characters."""
    return text if len(text) <= size else f"{text[:size]}… ({len(text):,} characters in all)"


@dataclass(slots=True)
class _Kept:
    """The EACH examples with the greatest keys; among equal keys the first ones."""

    heap: list[tuple[float, int, Example]] = field(default_factory=list)

    def offer(self, key: float, row: int, record: Record, confidence: float, outcome: int) -> None:
        if len(self.heap) == EACH and (key, -row) <= self.heap[0][:2]:
            return
        entry = (key, -row, Example.of(record, confidence, outcome))
        if len(self.heap) < EACH:
            heapq.heappush(self.heap, entry)
        else:
            heapq.heapreplace(self.heap, entry)

    def best_first(self) -> tuple[Example, ...]:
        return tuple(example for *_, example in sorted(self.heap, key=lambda entry: entry[:2], reverse=True))


class ExampleCollector:
    """Keeps the most informative answers around ``threshold``; none where it is None."""

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._kinds = {
            name: _Kept()
            for name in ("answered_narrowly", "withheld_narrowly", "answered_wrong", "withheld_right")
        }

    def add(self, row: int, record: Record, confidence: float, outcome: int) -> None:
        """Offer one answer whose outcome is RIGHT or WRONG."""
        if self._threshold is None:
            return
        kinds, offered = self._kinds, (row, record, confidence, outcome)
        if confidence >= self._threshold:
            kinds["answered_narrowly"].offer(-confidence, *offered)
            if outcome == WRONG:
                kinds["answered_wrong"].offer(confidence, *offered)
        else:
            kinds["withheld_narrowly"].offer(confidence, *offered)
            if outcome == RIGHT:
                kinds["withheld_right"].offer(-confidence, *offered)

    def examples(self) -> Mapping[str, tuple[Example, ...]]:
        """Return the examples by kind, the most informative first."""
        return {name: kept.best_first() for name, kept in self._kinds.items()}
