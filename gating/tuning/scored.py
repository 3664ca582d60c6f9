"""Answers with the confidences of a policy, computed by the code that serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gating.tuning.graded import ABSTAINED, RIGHT
from gating.types import Unmeasured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gating.policy import Policy
    from gating.tuning.graded import Graded


@dataclass(frozen=True, slots=True, eq=False)
class ScoredAnswers:
    """``rows`` (m,) of the graded answers with their ``outcome`` (m,) and ``confidence`` (m,) in [0, 1].

    The confidence is meaningless where ``measured`` (m,) is False; such an answer is withheld.
    """

    rows: NDArray[np.intp]
    outcome: NDArray[np.int8]
    confidence: NDArray[np.float64]
    measured: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.rows.size

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which answers (m,) have a confidence and do not decline; undecided ones are included, as wrong."""
        answering: NDArray[np.bool_] = np.not_equal(self.outcome, ABSTAINED)
        return self.measured & answering

    def labelled(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the confidences (k,) and the labels (k,) of the usable answers: 1 if right, else 0."""
        return self.confidence[self.usable], (self.outcome[self.usable] == RIGHT).astype(np.float64)

    def answered(self, threshold: float | NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which answers (m,) are served at ``threshold``, one for all or one for each (m,)."""
        passes: NDArray[np.bool_] = np.greater_equal(self.confidence, threshold)
        return self.usable & passes


def score_answers(policy: Policy, graded: Graded, rows: NDArray[np.intp]) -> ScoredAnswers:
    """Score the answers at ``rows`` (m,) with ``policy``."""
    confidence = np.zeros(rows.size)
    measured = np.zeros(rows.size, dtype=np.bool_)
    names = [scorer.name for scorer in policy.scorers]
    groups = conditions_of(policy, graded, rows)
    for place, (scores, group) in enumerate(zip(graded.scores(names, rows), groups, strict=True)):
        read = policy.read_scores(scores, group)
        if not isinstance(read, Unmeasured):
            confidence[place], measured[place] = read.confidence, True
    return ScoredAnswers(rows, graded.outcome[rows], confidence, measured)


def conditions_of(policy: Policy, graded: Graded, rows: NDArray[np.intp]) -> list[str | None]:
    """Return the condition of each of ``rows`` (m,); None where the policy or the answer has none."""
    if policy.conditions is None:
        return [None] * rows.size
    return [name or None for name in graded.conditions[policy.conditions.by][rows].tolist()]


def thresholds_of(
    policy: Policy, graded: Graded, rows: NDArray[np.intp]
) -> float | NDArray[np.float64] | None:
    """Return the threshold for all ``rows`` (m,), or one for each (m,), infinite where its condition has none."""
    if policy.conditions is None:
        return policy.threshold
    groups = policy.conditions.groups
    limits = {name: group.threshold for name, group in groups.items()}
    found = [limits.get(name or "") for name in conditions_of(policy, graded, rows)]
    return np.array([np.inf if limit is None else limit for limit in found])
