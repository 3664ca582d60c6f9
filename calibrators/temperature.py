"""Temperature scaling: one parameter that scales log-odds (Guo et al. 2017, §4.2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from calibrators.parametric import ParametricCalibrator
from calibrators.rows import Levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

#: T lies within this factor of the root mean square of the scores, so the sigmoid ranges from flat to a step.
WIDEST = 1e3


class TemperatureCalibrator(ParametricCalibrator):
    """``sigmoid(score / T)``, T > 0, for scores that are log-odds already, where 0 means one half.

    T minimises the log loss on Platt's soft targets, so that separable or one-class labels keep it above 0. The
    calibrator has no offset, so it cannot fit a base rate: labels that contradict the sign of the scores lead to
    the largest T, with a confidence near one half everywhere.
    """

    kind = "temperature"
    parameters: ClassVar[Mapping[str, float]] = {"temperature": math.nextafter(0.0, 1.0)}
    temperature_: float

    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit as ``Calibrator.fit``; T = 1 where every score is 0."""
        levels = Levels.of(scores, correct, weights)
        self.temperature_, self.bound_ = _fit_temperature(levels), levels.bound
        return self

    def _log_odds(self, score: float) -> float:
        return score / self.temperature_


def _fit_temperature(levels: Levels) -> float:
    """Return T at the root of the slope of the loss in u = ln(1/T), unique because the loss is convex in 1/T.

    The method is Newton's within a shrinking bracket. A step that does not halve the previous one is replaced by
    a bisection, so that the iteration ends (Press et al. 2007, §9.4).
    """
    targets, scores, total = levels.soft_targets(), levels.scores, levels.total
    scale = math.sqrt(float(np.average(np.square(scores), weights=total)))
    if scale == 0:
        return 1.0
    low, high = -math.log(scale * WIDEST), -math.log(scale / WIDEST)
    point, step = -math.log(scale), high - low
    while abs(step) > 1e-12:
        inverse = math.exp(point)
        p = 0.5 * (1 + np.tanh(0.5 * inverse * scores))
        slope = float(total @ (scores * (p - targets)))
        curvature = inverse * float(total @ (np.square(scores) * p * (1 - p)))
        low, high = (low, point) if slope > 0 else (point, high)
        newton = -slope / curvature if curvature > 0 else math.inf
        converges = abs(newton) <= abs(step) / 2 and low <= point + newton <= high
        step = newton if converges else (low + high) / 2 - point
        point += step
    return math.exp(-point)
