"""Checked input: rows of scores, labels and weights, and the distinct score levels that they come down to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from calibrators.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Log-odds of the double next below 1, rounded up: a probability of 1 that became +inf is read as this.
PROBABILITY_SCORE = 37.0
#: Scores farther out are read as this, so that squares and differences stay finite.
FARTHEST_SCORE = 1e9


def as_vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """``values`` as (n,) float64 without NaN; raises CalibrationError naming ``name`` and the index."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise CalibrationError(f"{name}: not numbers ({exc})") from exc
    if vector.ndim != 1:
        raise CalibrationError(f"{name}: shape {vector.shape}, one dimension is needed")
    missing = np.isnan(vector)
    if missing.any():
        raise CalibrationError(f"{name}[{int(missing.argmax())}] is NaN: leave the unmeasured rows out")
    return vector


def as_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores (n,) on any scale, ±inf allowed, NaN refused with its index."""
    return as_vector(scores, "scores")


def _require(ok: NDArray[np.bool_], values: NDArray[np.float64], name: str, need: str) -> None:
    """Raise CalibrationError naming the first row of ``values`` that is not ``ok``."""
    if not ok.all():
        index = int(ok.argmin())
        raise CalibrationError(f"{name}[{index}] is {values[index]:g}: {need}")


def as_confidence(confidence: ArrayLike) -> NDArray[np.float64]:
    """Probabilities (n,), each in [0, 1]."""
    vector = as_vector(confidence, "confidence")
    _require((vector >= 0) & (vector <= 1), vector, "confidence", "a probability in [0, 1] is needed")
    return vector


def as_labels(correct: ArrayLike, n: int) -> NDArray[np.float64]:
    """Labels (n,), each 0 or 1 (or bool)."""
    labels = as_vector(correct, "correct")
    if labels.size != n:
        raise CalibrationError(f"correct: {labels.size} labels for {n} rows")
    _require((labels == 0) | (labels == 1), labels, "correct", "a label is 0 (wrong) or 1 (right)")
    return labels


def as_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
    """Weights (n,), each finite and > 0, scaled to a largest of 1; None where none are given."""
    if weights is None:
        return None
    vector = as_vector(weights, "weights")
    if vector.size != n:
        raise CalibrationError(f"weights: {vector.size} weights for {n} rows")
    _require((vector > 0) & np.isfinite(vector), vector, "weights", "a weight is finite and above 0")
    return vector / vector.max() if n else vector


def _sums(level: NDArray[np.intp], column: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """``column`` (n,) summed over each of ``size`` levels."""
    return np.bincount(level, column, size).astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True)
class Levels:
    """The rows grouped by score: all that a monotone calibrator can know of them.

    ``scores`` (k,) strictly increasing and finite; ``right`` (k,) the weight of the right answers and
    ``total`` (k,) of all answers at each; ``total`` sums to the effective number of labels, ``n`` where all
    weigh alike. ``bound`` >= 37 is the farthest that a score may lie from 0: farther ones are read as it.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.float64]
    total: NDArray[np.float64]
    bound: float

    @classmethod
    def of(cls, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Check and group rows (n,); the result does not depend on their order.

        Infinite scores become ±``bound``, the larger of 37 and the farthest finite score: out of a
        probability of exactly 0 or 1 they keep a level of their own, yet no far stand-in dominates a slope.
        Weights are scaled to sum to (Σw)²/Σw², the effective sample size (Kish 1965, §8.2), so that smoothing
        knows how much was seen. Raises CalibrationError as ``Calibrator.fit``.
        """
        values = as_scores(scores)
        labels = as_labels(correct, values.size)
        weight = as_weights(weights, values.size)
        if not values.size:
            raise CalibrationError("scores: no rows, at least one label is needed")
        values = np.where(np.isfinite(values), np.clip(values, -FARTHEST_SCORE, FARTHEST_SCORE), values)
        bound = max(PROBABILITY_SCORE, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))
        values = np.clip(values, -bound, bound)
        if weight is None:
            weight = np.ones_like(values)
        else:
            # Sums depend on the order in the last bit; equal weights may be exchanged.
            order = np.argsort(weight, kind="stable")
            values, labels, weight = values[order], labels[order], weight[order]
            weight = weight * (weight.sum() / np.square(weight).sum())
        distinct, level = np.unique(values, return_inverse=True)
        right, total = (_sums(level, column, distinct.size) for column in (weight * labels, weight))
        return cls(distinct, right, total, bound)

    @property
    def n(self) -> float:
        """The effective number of labels."""
        return float(self.total.sum())

    def soft_targets(self) -> NDArray[np.float64]:
        """Platt's (1999, §2.2) targets, averaged at each level (k,), strictly inside (0, 1).

        A right answer counts as (N₊ + 1)/(N₊ + 2) and a wrong one as 1/(N₋ + 2): Laplace's rule on the
        labels, without which separable or one-class labels would ask for an infinite slope.
        """
        positives = float(self.right.sum())
        negatives = max(self.n - positives, 0.0)
        high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
        return low + (high - low) * (self.right / self.total)
