"""Base class of the calibrators with a formula for the log-odds, and their logistic fit."""

from __future__ import annotations

import math
from abc import abstractmethod
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from calibrators.base import Calibrator
from calibrators.errors import CalibrationError
from calibrators.rows import PROBABILITY_SCORE
from calibrators.saved import check_header, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Log-odds are clipped here, 1e-13 from certainty, which no number of labels can show; 1 - p is still exact.
FARTHEST_LOG_ODDS = 30.0
#: A feature whose spread relative to the widest one is below this gets slope 0.
NEGLIGIBLE_SPREAD = 1e-6


class ParametricCalibrator(Calibrator):
    """``sigmoid(log_odds(score))``; ``parameters`` names the learnt numbers and the least value of each."""

    parameters: ClassVar[Mapping[str, float]]
    #: Scores are clipped to [-bound_, bound_] (``rows.Levels``).
    bound_: float

    @abstractmethod
    def _log_odds(self, score: float) -> float:
        """Return the log-odds at a finite score; they never decrease."""

    def predict_one(self, score: float) -> float:
        """Return the probability for one score as ``Calibrator.predict_one``; it takes 0.2 to 0.5 µs."""
        bound = self.bound_
        if not -bound <= score <= bound:
            if score != score:
                raise CalibrationError("score is NaN: an unmeasured score has no confidence")
            score = bound if score > 0 else -bound
        log_odds = self._log_odds(score)
        if log_odds > FARTHEST_LOG_ODDS:
            log_odds = FARTHEST_LOG_ODDS
        elif log_odds < -FARTHEST_LOG_ODDS:
            log_odds = -FARTHEST_LOG_ODDS
        return 1.0 / (1.0 + math.exp(-log_odds))

    def to_dict(self) -> dict[str, Any]:
        """Return ``kind``, ``version``, ``bound`` and each of ``parameters`` without its underscore."""
        learnt = {name: getattr(self, f"{name}_") for name in ("bound", *self.parameters)}
        return {"kind": self.kind, "version": self.version, **learnt}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` saved; raises CalibrationError as ``Calibrator.from_dict``."""
        check_header(saved, cls.kind, cls.version)
        calibrator = cls()
        for name, lowest in (("bound", PROBABILITY_SCORE), *cls.parameters.items()):
            setattr(calibrator, f"{name}_", number(saved, name, lowest))
        return calibrator


def fit_logistic(
    features: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return slopes (d,) >= 0 and the intercept that minimise the weighted log loss.

    ``features`` (k, d), soft ``targets`` (k,), ``weights`` (k,). The loss is convex: where the free optimum has
    a negative slope, the constrained optimum lies on a face, and all faces of one or two features are tried.
    Features are standardised first, so the result does not depend on their scale; one that hardly varies gets
    slope 0.
    """
    centre = np.average(features, axis=0, weights=weights)
    spread = np.sqrt(np.average(np.square(features - centre), axis=0, weights=weights))
    usable = np.flatnonzero((spread > 0) & (spread > NEGLIGIBLE_SPREAD * spread.max()))
    scaled = (features[:, usable] - centre[usable]) / spread[usable]
    best_loss, slopes = math.inf, np.zeros(usable.size)
    intercept = 0.0
    for size in range(usable.size, -1, -1):
        for face in combinations(range(usable.size), size):
            found, loss = _newton(scaled[:, face], targets, weights)
            if (found[:-1] >= 0).all() and loss < best_loss:
                best_loss, intercept = loss, float(found[-1])
                slopes = np.zeros(usable.size)
                slopes[list(face)] = found[:-1]
        if size == usable.size and best_loss < math.inf:
            break  # the free optimum is feasible
    full = np.zeros(features.shape[1])
    full[usable] = slopes / spread[usable]
    return full, intercept - float(full @ centre)


def _newton(
    features: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return coefficients (d + 1,), intercept last, and their loss, by Newton's method with backtracking.

    The method is that of Lin, Lin & Weng 2007 with the constants of their appendix C, except that the tolerance
    of the gradient and the ridge grow with the number of labels.
    """
    design = np.column_stack([features, np.ones(targets.size)])
    mean = float(np.average(targets, weights=weights))
    point = np.zeros(design.shape[1])
    point[-1] = math.log(mean / (1 - mean))
    loss = _log_loss(design @ point, targets, weights)
    while True:  # ends, because the loss falls strictly until the gradient or the step underflows
        p = 0.5 * (1 + np.tanh(0.5 * (design @ point)))
        gradient = design.T @ (weights * (p - targets))
        if np.abs(gradient).max() <= 1e-10 * weights.sum():
            return point, loss
        hessian = (design.T * (weights * p * (1 - p))) @ design + 1e-12 * weights.sum() * np.eye(point.size)
        step = -np.linalg.solve(hessian, gradient)
        size = 1.0
        while size >= 1e-10:
            trial = point + size * step
            trial_loss = _log_loss(design @ trial, targets, weights)
            if trial_loss < loss + 1e-4 * size * float(gradient @ step):
                break
            size /= 2
        else:
            return point, loss
        point, loss = trial, trial_loss


def _log_loss(
    log_odds: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    """Return the weighted sum of the cross-entropy of soft targets (k,)."""
    return float(weights @ (np.logaddexp(0.0, log_odds) - targets * log_odds))
