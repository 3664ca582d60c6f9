"""Figures of a policy on answers that neither the fit nor the threshold used. Unknown figures are None."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from calibrators.metrics import TARGETS, auroc, auroc_interval, brier_skill, log_loss
from gating.tuning.choice import fit_calibrator, subsample
from gating.tuning.costs import Cheaper, losses_of
from gating.tuning.graded import ABSTAINED, RIGHT, UNDECIDED, WRONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from gating.tuning.graded import Column, Graded
    from gating.tuning.scored import ScoredAnswers
    from gating.tuning.splits import Rows
    from gating.types import Certificate


@dataclass(frozen=True, slots=True)
class ScorerFigures:
    """How well ``n`` scores separate right from wrong answers, and how good their confidences are."""

    n: int
    auroc: float | None
    auroc_interval: tuple[float, float] | None
    brier_skill: float | None
    log_loss: float | None

    @classmethod
    def of(cls, scores: ArrayLike, confidence: ArrayLike, correct: ArrayLike) -> Self:
        """Compute the figures from ``scores``, calibrated ``confidence`` and ``correct`` in {0, 1}, each (n,)."""
        return cls(
            n=np.size(scores),
            auroc=auroc(scores, correct),
            auroc_interval=auroc_interval(scores, correct),
            brier_skill=brier_skill(confidence, correct),
            log_loss=log_loss(confidence, correct),
        )

    @classmethod
    def alone(
        cls, column: Column, graded: Graded, fit: Rows, test: Rows, calibrator: str, rng: np.random.Generator
    ) -> Self:
        """Compute the figures of one scorer with a ``calibrator`` fitted on ``fit`` (m,), at ``test`` (k,).

        At most MOST_COMPARED rows are fitted on, since the figures only serve comparison.
        """
        fit, test = _usable(column, graded, subsample(graded, fit, rng)), _usable(column, graded, test)
        if not fit.size:
            return cls(n=int(test.size), auroc=None, auroc_interval=None, brier_skill=None, log_loss=None)
        fitted = fit_calibrator(calibrator, column.log_odds(fit), graded, fit, rng)
        confidence = fitted.predict(column.log_odds(test))
        return cls.of(column.scores[test], confidence, graded.outcome[test])


def _usable(column: Column, graded: Graded, rows: Rows) -> Rows:
    return rows[(column.measured & graded.labelled)[rows]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The outcome of gating: ``coverage`` (answered / all), ``risk`` (wrong / answered) and the counts.

    ``score`` holds, for each confidence target t in (0, 1), the mean over all answers of 1 for right, -t/(1-t)
    for wrong and 0 for "I don't know".
    """

    coverage: float | None
    risk: float | None
    right: int
    wrong: int
    abstained: int
    score: Mapping[str, float | None]

    @classmethod
    def of(cls, outcome: NDArray[np.int8], answered: NDArray[np.bool_]) -> Self:
        """Count from the ``outcome`` (n,) of every answer and whether it was ``answered`` (n,)."""
        right = int((outcome[answered] == RIGHT).sum())
        wrong = int(np.isin(outcome[answered], (WRONG, UNDECIDED)).sum())
        n, out = outcome.size, right + wrong
        return cls(
            coverage=out / n if n else None,
            risk=wrong / out if out else None,
            right=right,
            wrong=wrong,
            abstained=n - out,
            score={f"{t:g}": (right - wrong * t / (1 - t)) / n if n else None for t in TARGETS},
        )


#: The held-out figures where there is no threshold.
UNKNOWN: Mapping[str, Any] = {
    **dict.fromkeys(("coverage", "risk", "right", "wrong", "abstained")),
    "score": {f"{t:g}": None for t in TARGETS},
}


@dataclass(frozen=True, slots=True)
class ConditionFigures:
    """Figures of one condition: ``n`` answers in its calibration, and its threshold on the test split."""

    n: int
    threshold: float | None
    certificate: Certificate | None
    held_out: HeldOut | None
    always: HeldOut

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "n": self.n,
            "threshold": self.threshold,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "held_out": UNKNOWN if self.held_out is None else asdict(self.held_out),
            "always": asdict(self.always),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a tuned policy: ``n`` answers in each split; the other figures are on the split ``held_out_from``.

    ``scorers`` are the figures of each scorer alone and ``policy`` those of the chosen combination; ``always`` is
    answering everything, for comparison; ``conditions`` are the figures of each condition. ``considered`` is the
    cross-validated log loss of the candidates on the fit split, where scorers were chosen; ``cheaper`` is the
    policy's gain over a cheaper scorer, None where there is none.
    """

    n: Mapping[str, int]
    base_rate: float | None
    scorers: Mapping[str, ScorerFigures]
    policy: ScorerFigures
    calibrator: str
    threshold: float | None
    certificate: Certificate | None
    held_out: HeldOut | None
    always: HeldOut
    conditions: Mapping[str, ConditionFigures] = field(default_factory=dict)
    considered: Mapping[str, float] = field(default_factory=dict)
    cheaper: Cheaper | None = None
    held_out_from: str = "test"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "n": dict(self.n),
            "base_rate": self.base_rate,
            "scorers": {name: asdict(figures) for name, figures in self.scorers.items()},
            "policy": asdict(self.policy),
            "calibrator": self.calibrator,
            "threshold": self.threshold,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "held_out": UNKNOWN if self.held_out is None else asdict(self.held_out),
            "held_out_from": self.held_out_from,
            "always": asdict(self.always),
            "conditions": {name: figures.to_dict() for name, figures in self.conditions.items()},
            "considered": dict(self.considered),
            "cheaper": None if self.cheaper is None else self.cheaper.to_dict(),
        }


def cheaper_figures(
    name: str, test: ScoredAnswers, graded: Graded, fit: Rows, calibrator: str, rng: np.random.Generator
) -> Cheaper:
    """Compare the policy's confidences on ``test`` with the scorer ``name`` alone, where both are measured."""
    column = graded.columns[name]
    fit = _usable(column, graded, subsample(graded, fit, rng))
    both = test.usable & column.measured[test.rows]
    rows, correct = test.rows[both], (test.outcome[both] == RIGHT).astype(np.float64)
    alone = fit_calibrator(calibrator, column.log_odds(fit), graded, fit, rng).predict(column.log_odds(rows))
    gained = losses_of(alone, correct) - losses_of(test.confidence[both], correct)
    return Cheaper.of(name, gained, graded.group[rows])


def held_out(test: ScoredAnswers, threshold: float | NDArray[np.float64] | None) -> HeldOut | None:
    """Return the outcome at ``threshold`` (one for all, or one for each answer); None without a threshold."""
    return None if threshold is None else HeldOut.of(test.outcome, test.answered(threshold))


def always(test: ScoredAnswers) -> HeldOut:
    """Return the outcome of answering everything except where the model declines."""
    return HeldOut.of(test.outcome, test.outcome != ABSTAINED)
