"""What the calibrators with a formula share: log-odds as a function of the score, and a logistic fit."""

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

#: Log-odds are cut here: 1e-13 from certainty, more than any number of labels can show, and 1 - p is exact.
FARTHEST_LOG_ODDS = 30.0
#: A feature that varies this little beside the widest one says nothing that a slope could safely extend.
NEGLIGIBLE_SPREAD = 1e-6


class ParametricCalibrator(Calibrator):
    """``sigmoid(log_odds(score))``; ``parameters`` names the learnt numbers and the least each may be."""

    parameters: ClassVar[Mapping[str, float]]
    #: The farthest that a score may lie from 0; farther ones are read as it (``rows.Levels``).
    bound_: float

    @abstractmethod
    def _log_odds(self, score: float) -> float:
        """Log-odds at a finite score, never decreasing."""

    def predict_one(self, score: float) -> float:
        """As the base; measured at 0.2 to 0.5 µs."""
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
        """``kind``, ``version``, ``bound`` and each of ``parameters`` without its underscore."""
        learnt = {name: getattr(self, f"{name}_") for name in ("bound", *self.parameters)}
        return {"kind": self.kind, "version": self.version, **learnt}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """As the base."""
        check_header(saved, cls.kind, cls.version)
        calibrator = cls()
        for name, lowest in (("bound", PROBABILITY_SCORE), *cls.parameters.items()):
            setattr(calibrator, f"{name}_", number(saved, name, lowest))
        return calibrator


def fit_logistic(
    features: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Slopes (d,) >= 0 and intercept that minimise the log loss of ``features`` (k, d) on soft ``targets``
    (k,).

    The loss is convex: where the free optimum has a negative slope, the constrained one lies on a face, and
    for the one or two features here the faces are few enough to try them all. Features are standardised
    first, so the result does not depend on their scale; one that hardly varies gets slope 0.
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
    """Coefficients (d + 1,), intercept last, and their loss: Newton with backtracking (Lin, Lin & Weng 2007).

    The constants are theirs (Appendix C), except that the gradient's tolerance and the ridge grow with the
    number of labels.
    """
    design = np.column_stack([features, np.ones(targets.size)])
    mean = float(np.average(targets, weights=weights))
    point = np.zeros(design.shape[1])
    point[-1] = math.log(mean / (1 - mean))
    loss = _log_loss(design @ point, targets, weights)
    while True:  # ends: the loss falls strictly until the slope or the descent is below a double's reach
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
    """Summed cross-entropy of soft targets (k,)."""
    return float(weights @ (np.logaddexp(0.0, log_odds) - targets * log_odds))
