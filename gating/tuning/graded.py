"""Graded answers as columns of numbers: scores, outcomes and questions, without the evidence."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from gating.answers import is_abstention
from gating.conditions import GROUPINGS
from gating.scorers import SCORERS, FeatureScorer
from gating.transform import TO_LOG_ODDS, infer_scale
from gating.tuning.splits import place_of
from gating.types import GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gating.grading import Label
    from gating.scorers import Scorer
    from gating.types import Evidence, Words

#: Outcomes of an answer. An answer that declines is neither right nor wrong, and the gate abstains on it. An
#: undecided one is not fitted on, and counts as wrong wherever a risk is measured or certified.
RIGHT, WRONG, ABSTAINED, UNDECIDED = 1, 0, -1, -2
OUTCOMES: Mapping[Label, int] = {
    "correct": RIGHT,
    "incorrect": WRONG,
    "abstained": ABSTAINED,
    "undecided": UNDECIDED,
}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One scorer's ``scores`` (n,); values where ``measured`` (n,) is False are meaningless."""

    scorer: Scorer
    scores: NDArray[np.float64]
    measured: NDArray[np.bool_]

    def log_odds(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the log-odds (m,) of the scores at ``rows`` (m,), by the conversion that serving uses."""
        convert = TO_LOG_ODDS[self.scorer.scale]
        return np.fromiter(map(convert, self.scores[rows].tolist()), np.float64, rows.size)


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """n graded answers: ``outcome`` (n,) is one of ``OUTCOMES``, ``group`` (n,) the number of the question.

    ``group_place`` and ``row_place`` (n,) in [0, 1) are the hashes of the question and of the answer, by which labels
    are dealt to splits (``gating.tuning.splits``).

    ``columns`` holds the scorers that measured at least one answer: those of ``SCORERS`` in its order, which is
    that of cost, then the features by name. ``conditions`` holds for each grouping that needs no fit the
    condition (n,) of every answer, "" where there is none; fitted groupings use ``words`` (n,). ``without`` are
    the graded answers to the same questions without passages, where records have both; ``without_row`` (n,) is
    the row of each answer's counterpart in it, -1 where there is none. ``kinds`` (k,) are the request fields
    of the answers, each different set of them once, and ``kind`` (n,) is the number of each answer's.
    """

    columns: Mapping[str, Column]
    outcome: NDArray[np.int8]
    group: NDArray[np.intp]
    group_place: NDArray[np.float64]
    row_place: NDArray[np.float64]
    conditions: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    words: Sequence[Words | None] = ()
    without: Graded | None = None
    without_row: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    kinds: tuple[Mapping[str, Any], ...] = ()
    kind: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    def __len__(self) -> int:
        return self.outcome.size

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which answers (n,) are known to be right or wrong: those that can be fitted on."""
        return np.greater_equal(self.outcome, WRONG)

    def column(self, name: str) -> Column:
        """Return a scorer's column; raises GatingError where it measured no answer."""
        found = self.columns.get(name)
        if found is not None:
            return found
        if name in SCORERS:
            needs = " and ".join(sorted(SCORERS[name].needs))
            raise GatingError(
                f"scorers: no record has the evidence that {name} needs ({needs}); leave it out"
            )
        known = ", ".join([*SCORERS, *(name for name in self.columns if name not in SCORERS)])
        raise GatingError(f"scorers: {name} is neither a scorer nor a feature of the records; known: {known}")

    def scores(self, names: Sequence[str], rows: NDArray[np.intp]) -> list[tuple[float | Unmeasured, ...]]:
        """Return the scores of the scorers ``names`` (k,) for each of ``rows`` (m,)."""
        absent = Unmeasured("not measured")
        columns = [self.column(name) for name in names]
        said: list[list[float | Unmeasured]] = [
            [
                score if known else absent
                for score, known in zip(
                    column.scores[rows].tolist(), column.measured[rows].tolist(), strict=True
                )
            ]
            for column in columns
        ]
        return list(zip(*said, strict=True))


class Collector:
    """Collects graded answers one by one and keeps only numbers, some 200 bytes for each answer."""

    def __init__(self) -> None:
        self._outcomes = array("b")
        self._groups = array("q")
        self._group_places = array("d")
        self._row_places = array("d")
        self._group_sizes: Counter[str] = Counter()
        self._group_numbers: dict[str, int] = {}
        self._rows: dict[str, array[int]] = {}
        self._scores: dict[str, array[float]] = {}
        self._conditions: dict[str, list[str]] = {
            name: [] for name, grouping in GROUPINGS.items() if not grouping.fitted
        }
        self._words: list[Words | None] = []
        self._without: Collector | None = None
        self._without_rows = array("q")
        self._kinds = array("q")
        self._kind_numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._outcomes)

    def add(
        self,
        evidence: Evidence,
        label: Label,
        group: str,
        *,
        without: tuple[Evidence, Label] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one graded answer; answers to the same question share their ``group``.

        An answer that the gate recognises as declining counts as abstained, whatever its label, because the gate
        withholds it when serving. ``without`` is the graded answer to the same question without its passages;
        ``fields`` are the request fields that shaped the answer, None where they are not known.
        """
        row = len(self._outcomes)
        if fields is not None:
            name = json.dumps(fields, sort_keys=True)
            self._kinds.append(self._kind_numbers.setdefault(name, len(self._kind_numbers)))
        self._without_rows.append(-1 if without is None else self._add_without(*without, group))
        declined = is_abstention(evidence.answer)
        self._outcomes.append(ABSTAINED if declined else OUTCOMES[label])
        self._groups.append(self._group_numbers.setdefault(group, len(self._group_numbers)))
        self._group_places.append(place_of(group))
        self._row_places.append(place_of(f"{group}\0{self._group_sizes[group]}"))
        self._group_sizes[group] += 1
        for by, told in self._conditions.items():
            told.append(GROUPINGS[by].condition(evidence, None) or "")
        self._words.append(evidence.words)
        if self._outcomes[row] == ABSTAINED:
            return
        for name, scorer in SCORERS.items():
            score = scorer.score(evidence)
            if not isinstance(score, Unmeasured):
                self._keep(name, row, score)
        for name, value in evidence.features.items():
            if name in SCORERS:
                raise GatingError(f"features.{name}: a feature must not have the name of a scorer; rename it")
            if isfinite(value):
                self._keep(name, row, float(value))

    def _add_without(self, evidence: Evidence, label: Label, group: str) -> int:
        if self._without is None:
            self._without = Collector()
        self._without.add(evidence, label, group)
        return len(self._without) - 1

    def _keep(self, name: str, row: int, score: float) -> None:
        if name not in self._rows:
            self._rows[name], self._scores[name] = array("q"), array("d")
        self._rows[name].append(row)
        self._scores[name].append(score)

    def graded(self) -> Graded:
        """Return all answers as columns."""
        features = sorted(name for name in self._rows if name not in SCORERS)
        names = [name for name in SCORERS if name in self._rows] + features
        return Graded(
            columns={name: self._column(name) for name in names},
            outcome=np.array(self._outcomes, dtype=np.int8),
            group=np.array(self._groups, dtype=np.intp),
            group_place=np.array(self._group_places),
            row_place=np.array(self._row_places),
            conditions={by: np.array(told, dtype=np.str_) for by, told in self._conditions.items()},
            words=tuple(self._words),
            without=None if self._without is None else self._without.graded(),
            without_row=np.array(self._without_rows, dtype=np.intp),
            kinds=tuple(map(json.loads, self._kind_numbers)),
            kind=np.array(self._kinds, dtype=np.intp),
        )

    def _column(self, name: str) -> Column:
        values = self._scores[name]
        scores = np.zeros(len(self))
        measured = np.zeros(len(self), dtype=np.bool_)
        rows = np.array(self._rows[name], dtype=np.intp)
        scores[rows], measured[rows] = values, True
        scorer = SCORERS.get(name) or FeatureScorer(name, infer_scale(values))
        return Column(scorer, scores, measured)
