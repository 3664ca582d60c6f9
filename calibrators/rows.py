"""Validation of scores, labels and weights, and their aggregation by distinct score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from calibrators.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Log-odds of the largest double below 1, rounded up; it replaces the infinite log-odds of a probability of 1.
PROBABILITY_SCORE = 37.0
#: Scores are clipped to this distance from 0, so that squares and differences stay finite.
FARTHEST_SCORE = 1e9


def as_vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return ``values`` as (n,) float64 without NaN; raises CalibrationError naming ``name`` and the index."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise CalibrationError(f"{name}: not numbers ({exc})") from exc
    if vector.ndim != 1:
        raise CalibrationError(f"{name}: shape {vector.shape}, one dimension is needed")
    missing = np.isnan(vector)
    if missing.any():
        raise CalibrationError(f"{name}[{int(missing.argmax())}] is NaN: leave unmeasured rows out")
    return vector


def as_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Check scores (n,) on any scale, ±inf allowed; raises CalibrationError on NaN, naming its index."""
    return as_vector(scores, "scores")


def _require(ok: NDArray[np.bool_], values: NDArray[np.float64], name: str, need: str) -> None:
    """Raise CalibrationError naming the first row of ``values`` that is not ``ok``."""
    if not ok.all():
        index = int(ok.argmin())
        raise CalibrationError(f"{name}[{index}] is {values[index]:g}: {need}")


def as_confidence(confidence: ArrayLike) -> NDArray[np.float64]:
    """Check probabilities (n,), each in [0, 1]."""
    vector = as_vector(confidence, "confidence")
    _require((vector >= 0) & (vector <= 1), vector, "confidence", "a probability in [0, 1] is needed")
    return vector


def as_labels(correct: ArrayLike, n: int) -> NDArray[np.float64]:
    """Check labels (n,), each 0 or 1 (or bool)."""
    labels = as_vector(correct, "correct")
    if labels.size != n:
        raise CalibrationError(f"correct: {labels.size} labels for {n} rows")
    _require((labels == 0) | (labels == 1), labels, "correct", "a label is 0 (wrong) or 1 (right)")
    return labels


def as_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
    """Check weights (n,), each finite and > 0, and scale them to a maximum of 1; None stays None."""
    if weights is None:
        return None
    vector = as_vector(weights, "weights")
    if vector.size != n:
        raise CalibrationError(f"weights: {vector.size} weights for {n} rows")
    _require((vector > 0) & np.isfinite(vector), vector, "weights", "a weight is finite and above 0")
    return vector / vector.max() if n else vector


def _sums(level: NDArray[np.intp], column: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sum ``column`` (n,) over each of ``size`` levels."""
    return np.bincount(level, column, size).astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True)
class Levels:
    """Rows aggregated by distinct score.

    ``scores`` (k,) are strictly increasing and finite; ``right`` (k,) is the weight of the right answers and
    ``total`` (k,) that of all answers at each score. ``total`` sums to the effective number of labels, ``n`` with
    equal weights. Scores are clipped to [-``bound``, ``bound``], ``bound`` >= 37.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.float64]
    total: NDArray[np.float64]
    bound: float

    @classmethod
    def of(cls, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Check and aggregate rows (n,); the result does not depend on their order.

        Infinite scores become ±``bound``, the larger of 37 and the farthest finite score: probabilities of
        exactly 0 or 1 keep a separate level, but do not dominate a slope. Weights are scaled to sum to
        (Σw)²/Σw², the effective sample size (Kish 1965, §8.2), on which smoothing depends. Raises
        CalibrationError as ``Calibrator.fit``.
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
            # Sorted, because the last bit of a sum depends on the order.
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
        """Return Platt's (1999, §2.2) targets, averaged at each level (k,), strictly inside (0, 1).

        A right answer counts as (N₊ + 1)/(N₊ + 2) and a wrong one as 1/(N₋ + 2). Without this smoothing,
        separable or one-class labels would lead to an infinite slope.
        """
        positives = float(self.right.sum())
        negatives = max(self.n - positives, 0.0)
        high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
        return low + (high - low) * (self.right / self.total)
