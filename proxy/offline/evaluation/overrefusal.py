"""What passages do to answers and refusals, by condition: counts, shares with their intervals, F1.

A question *should be answered* where its passages are sufficient (``relevant``, ``mixed``) or where the model
is right without them; else it should be refused. Over-refusal is P(refused with passages | right without),
an unsafe answer P(wrong with passages | passages insufficient). Definitions follow the four knowledge states
of Zhou et al. 2025, arXiv:2509.01476.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gating.answers import is_abstention
from gating.risk import lower_bound, upper_bound
from proxy.exceptions import ConfigError
from proxy.records import Record, lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gating.grading import Label
    from proxy.records import Answer, Condition

#: Conditions whose passages hold the answer.
SUFFICIENT = frozenset({"relevant", "mixed"})
#: Those with passages that do not, or that hold a false one.
INSUFFICIENT = frozenset({"irrelevant", "counterfactual"})
#: In the order in which they are told.
ORDER: tuple[Condition, ...] = ("none", "relevant", "mixed", "irrelevant", "counterfactual", "context")
LEVEL = 0.95


class Case(NamedTuple):
    """One answer: its condition, what it is worth, and what the one without passages is (None: not asked)."""

    condition: Condition
    label: Label
    closed: Label | None


def case_of(record: Answer) -> Case | None:
    """A record's case; None where it says no condition, or has no label."""
    if record.condition not in ORDER or record.label is None:
        return None
    closed = record.label if record.condition == "none" else None
    if record.condition != "none" and record.closed_book is not None:
        closed = _label(record.closed_book.label, record.closed_book.answer)
    label = _label(record.label, record.answer) or "abstained"
    return Case(record.condition, label, closed)


def _label(label: Label | None, answer: str) -> Label | None:
    return "abstained" if is_abstention(answer) else label


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``n``; the ratio is computed last."""

    count: int
    n: int

    def to_dict(self) -> dict[str, Any]:
        """With its share and the Clopper-Pearson interval, None where n is 0."""
        tail = (1 - LEVEL) / 2
        return {
            "count": self.count,
            "n": self.n,
            "share": self.count / self.n if self.n else None,
            "interval": [lower_bound(self.count, self.n, tail), upper_bound(self.count, self.n, tail)]
            if self.n
            else None,
        }


@dataclass(slots=True)
class Tally:
    """The cases of one condition, or of several, counted."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, case: Case) -> None:
        """One case more."""
        self.counts[case.condition, case.label, case.closed or ""] += 1

    def n(
        self, *, label: str | None = None, closed: str | None = None, among: frozenset[str] | None = None
    ) -> int:
        """How many there are with this label, this closed-book label, among these conditions."""
        return sum(
            count
            for (condition, said, without), count in self.counts.items()
            if label in (None, said) and closed in (None, without) and (among is None or condition in among)
        )

    def _should_answer(self, *, label: str | None = None) -> int:
        return sum(
            count
            for (condition, said, without), count in self.counts.items()
            if label in (None, said) and (condition in SUFFICIENT or without == "correct")
        )

    @property
    def over_refusal(self) -> Share:
        """Refused with passages, of those that are right without."""
        passages = SUFFICIENT | INSUFFICIENT
        return Share(
            self.n(label="abstained", closed="correct", among=passages),
            self.n(closed="correct", among=passages),
        )

    @property
    def unsafe(self) -> Share:
        """Wrong with passages, of those whose passages are insufficient."""
        return Share(self.n(label="incorrect", among=INSUFFICIENT), self.n(among=INSUFFICIENT))

    @property
    def wrong(self) -> Share:
        """Wrong among what is answered."""
        answered = self.n() - self.n(label="abstained")
        return Share(self.n(label="incorrect"), answered)

    @property
    def refusing(self) -> dict[str, float | None]:
        """Precision, recall and F1 of refusing what should be refused."""
        refused = self.n(label="abstained")
        rightly = refused - self._should_answer(label="abstained")
        return _f1(rightly, refused, self.n() - self._should_answer())

    @property
    def answering(self) -> dict[str, float | None]:
        """Precision, recall and F1 of answering, and rightly, what should be answered."""
        right = self.n(label="correct")
        answered = self.n() - self.n(label="abstained")
        return _f1(right, answered, self._should_answer() + right - self._should_answer(label="correct"))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; unknown figures are None."""
        return {
            "n": self.n(),
            "right": self.n(label="correct"),
            "wrong": self.n(label="incorrect"),
            "refused": self.n(label="abstained"),
            "wrong_among_answered": self.wrong.to_dict(),
            "over_refusal": self.over_refusal.to_dict(),
            "unsafe_answers": self.unsafe.to_dict(),
            "refusing": self.refusing,
            "answering": self.answering,
        }


def _f1(hits: int, said: int, wanted: int) -> dict[str, float | None]:
    return {
        "precision": hits / said if said else None,
        "recall": hits / wanted if wanted else None,
        "f1": 2 * hits / (said + wanted) if said + wanted else None,
    }


def tallies(cases: Iterable[Case]) -> dict[str, Tally]:
    """By condition, in order, and of ``all`` of them; empty where there are no cases."""
    whole = Tally()
    found: dict[str, Tally] = {}
    for case in cases:
        whole.add(case)
        found.setdefault(case.condition, Tally()).add(case)
    return {name: found[name] for name in ORDER if name in found} | ({"all": whole} if found else {})


@dataclass(frozen=True, slots=True)
class Compared:
    """The same questions, asked ``with_examples`` in front and ``without``; ``n`` answers on each side."""

    n: int
    with_examples: dict[str, Tally]
    without: dict[str, Tally]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "n": self.n,
            "with": {name: tally.to_dict() for name, tally in self.with_examples.items()},
            "without": {name: tally.to_dict() for name, tally in self.without.items()},
        }


def compared(with_examples: Path, without: Path) -> Compared:
    """Both files on the records that both have; one that says no condition had no passages. Raises ConfigError."""

    def read(path: Path) -> dict[str, Case]:
        return {
            record.id: case_of(record)
            or Case("none", _label(record.label, record.answer) or "abstained", record.label)
            for record, _ in lines(path, Record)
        }

    first, second = read(with_examples), read(without)
    both = [name for name in first if name in second]
    if not both:
        raise ConfigError(f"{without}: has none of the ids of {with_examples}; evaluate the same questions")
    return Compared(len(both), tallies(first[name] for name in both), tallies(second[name] for name in both))
