"""Beta calibration: a logistic curve with a separate slope at each end (Kull et al. 2017)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from calibrators.parametric import ParametricCalibrator, fit_logistic
from calibrators.rows import Levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike


class BetaCalibrator(ParametricCalibrator):
    """Log-odds ``a ln p − b ln(1 − p) + c`` of p = sigmoid(score), a >= 0 and b >= 0.

    Source: Kull, Silva Filho & Flach 2017, "Beta calibration", §4, where p is the model's probability. a = b is
    Platt's curve. The fit is a logistic regression on ln p and −ln(1 − p), as in the paper, but on Platt's soft
    targets and over every face of a, b >= 0.
    """

    kind = "beta"
    parameters: ClassVar[Mapping[str, float]] = {"a": 0.0, "b": 0.0, "c": -math.inf}
    a_: float
    b_: float
    c_: float

    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit as ``Calibrator.fit``; tied scores or labels of one class give a smoothed constant."""
        levels = Levels.of(scores, correct, weights)
        features = np.column_stack([-np.logaddexp(0.0, -levels.scores), np.logaddexp(0.0, levels.scores)])
        slopes, self.c_ = fit_logistic(features, levels.soft_targets(), levels.total)
        self.a_, self.b_ = float(slopes[0]), float(slopes[1])
        self.bound_ = levels.bound
        return self

    def _log_odds(self, score: float) -> float:
        # ln p and −ln(1 − p) are −softplus(−s) and softplus(s); their common part cannot overflow.
        common = math.log1p(math.exp(-abs(score)))
        if score > 0:
            return self.b_ * (score + common) - self.a_ * common + self.c_
        return self.b_ * common - self.a_ * (common - score) + self.c_
