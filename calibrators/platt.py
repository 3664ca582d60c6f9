"""Platt scaling: a logistic curve over the score (Platt 1999)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

from calibrators.parametric import ParametricCalibrator, fit_logistic
from calibrators.rows import Levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike


class PlattCalibrator(ParametricCalibrator):
    """``sigmoid(slope · score + intercept)``, slope >= 0, on Platt's soft targets.

    Sources: Platt 1999, "Probabilistic outputs for support vector machines", §2.2 (the targets); Lin, Lin &
    Weng 2007, "A note on Platt's probabilistic outputs" (the Newton iteration). Where the labels contradict
    the scores' order the slope is 0, and every score gets the smoothed base rate.
    """

    kind = "platt"
    parameters: ClassVar[Mapping[str, float]] = {"slope": 0.0, "intercept": -math.inf}
    slope_: float
    intercept_: float

    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit as ``Calibrator.fit``; tied scores or labels of one class give a smoothed constant."""
        levels = Levels.of(scores, correct, weights)
        slopes, self.intercept_ = fit_logistic(levels.scores[:, None], levels.soft_targets(), levels.total)
        self.slope_, self.bound_ = float(slopes[0]), levels.bound
        return self

    def _log_odds(self, score: float) -> float:
        return self.slope_ * score + self.intercept_
