"""The effect of passages on answers and refusals, by condition: counts, shares with intervals, and F1.

A question *should be answered* where its passages are sufficient (``relevant``, ``mixed``) or where the model is
right without them; otherwise it should be refused. Over-refusal is P(refused with passages | right without), and the
rate of unsafe answers is P(wrong with passages | passages insufficient). The definitions follow the four knowledge
states of Zhou et al. 2025, arXiv:2509.01476.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gating.answers import is_abstention
from gating.grading import decided
from gating.risk import lower_bound, upper_bound
from proxy.exceptions import ConfigError
from proxy.records import Record, lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gating.grading import Decided, Label
    from proxy.records import Answer, Condition

#: Conditions whose passages contain the answer.
SUFFICIENT = frozenset({"relevant", "mixed"})
#: Conditions whose passages do not contain the answer, or contain a false one.
INSUFFICIENT = frozenset({"irrelevant", "counterfactual"})
#: The order in which conditions are shown.
ORDER: tuple[Condition, ...] = ("none", "relevant", "mixed", "irrelevant", "counterfactual", "context")
LEVEL = 0.95


class Case(NamedTuple):
    """One answer: its condition, its label, and the label of the answer without passages (None: not asked)."""

    condition: Condition
    label: Decided
    closed: Decided | None


def case_of(record: Answer) -> Case | None:
    """Return the case of a record; None where it has no condition or no label."""
    if record.condition not in ORDER or record.label is None:
        return None
    closed = _label(record.label, record.answer) if record.condition == "none" else None
    if record.condition != "none" and record.closed_book is not None:
        closed = _label(record.closed_book.label, record.closed_book.answer)
    label = _label(record.label, record.answer) or "abstained"
    return Case(record.condition, label, closed)


def _label(label: Label | None, answer: str) -> Decided | None:
    if is_abstention(answer):
        return "abstained"
    return None if label is None else decided(label)


@dataclass(frozen=True, slots=True)
class Share:
    """The share ``count`` of ``n``, kept as counts until it is shown."""

    count: int
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return counts, share and Clopper-Pearson interval as JSON values, None where n is 0."""
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
class ConditionCounts:
    """Counts of the cases of one condition or of several."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, case: Case) -> None:
        """Count one case."""
        self.counts[case.condition, case.label, case.closed or ""] += 1

    def n(
        self, *, label: str | None = None, closed: str | None = None, among: frozenset[str] | None = None
    ) -> int:
        """Return the number of cases with this label and closed-book label among these conditions."""
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
        """The share of refusals with passages among questions that are answered right without."""
        passages = SUFFICIENT | INSUFFICIENT
        return Share(
            self.n(label="abstained", closed="correct", among=passages),
            self.n(closed="correct", among=passages),
        )

    @property
    def unsafe(self) -> Share:
        """The share of wrong answers among questions whose passages are insufficient."""
        return Share(self.n(label="incorrect", among=INSUFFICIENT), self.n(among=INSUFFICIENT))

    @property
    def wrong(self) -> Share:
        """The share of wrong answers among the answered questions."""
        answered = self.n() - self.n(label="abstained")
        return Share(self.n(label="incorrect"), answered)

    @property
    def refusing(self) -> dict[str, float | None]:
        """Precision, recall and F1 of refusing the questions that should be refused."""
        refused = self.n(label="abstained")
        rightly = refused - self._should_answer(label="abstained")
        return _f1(rightly, refused, self.n() - self._should_answer())

    @property
    def answering(self) -> dict[str, float | None]:
        """Precision, recall and F1 of answering, correctly, the questions that should be answered."""
        right = self.n(label="correct")
        answered = self.n() - self.n(label="abstained")
        return _f1(right, answered, self._should_answer() + right - self._should_answer(label="correct"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; unknown figures are None."""
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


def count_conditions(cases: Iterable[Case]) -> dict[str, ConditionCounts]:
    """Count cases by condition, in order, and for ``all`` of them; empty without cases."""
    whole = ConditionCounts()
    found: dict[str, ConditionCounts] = {}
    for case in cases:
        whole.add(case)
        found.setdefault(case.condition, ConditionCounts()).add(case)
    return {name: found[name] for name in ORDER if name in found} | ({"all": whole} if found else {})


@dataclass(frozen=True, slots=True)
class ExamplesComparison:
    """Results for the same ``n`` questions, asked with worked examples in front and without."""

    n: int
    with_examples: dict[str, ConditionCounts]
    without: dict[str, ConditionCounts]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "n": self.n,
            "with": {name: tally.to_dict() for name, tally in self.with_examples.items()},
            "without": {name: tally.to_dict() for name, tally in self.without.items()},
        }


def compare_examples(with_examples: Path, without: Path) -> ExamplesComparison:
    """Compare two files on the ids that both contain; raises ConfigError.

    A record without a condition counts as asked without passages.
    """

    def read(path: Path) -> dict[str, Case]:
        return {
            record.id: case_of(record)
            or Case(
                "none",
                _label(record.label, record.answer) or "abstained",
                _label(record.label, record.answer),
            )
            for record, _ in lines(path, Record)
        }

    first, second = read(with_examples), read(without)
    both = [name for name in first if name in second]
    if not both:
        raise ConfigError(f"{without}: has no id in common with {with_examples}; evaluate the same questions")
    return ExamplesComparison(
        len(both),
        count_conditions(first[name] for name in both),
        count_conditions(second[name] for name in both),
    )
