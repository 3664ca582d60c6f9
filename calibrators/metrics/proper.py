"""Proper scores: Brier with its decomposition and skill, and log loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics.bins import BINS, Bins
from calibrators.rows import as_confidence, as_labels, as_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Confidences are clipped to [1e-15, 1 − 1e-15] in the log loss: a certain error costs 34.5 nats, not infinity.
CERTAIN = 1e-15


def brier(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the mean squared difference in [0, 1] of ``confidence`` (n,) and ``correct`` (n,); None where n is 0.

    Brier 1950. ``weights`` (n,) > 0 are inverse propensities. Raises CalibrationError on NaN, a confidence
    outside [0, 1], a label other than 0 and 1, or unequal lengths, as every measure does.
    """
    p = as_confidence(confidence)
    y = as_labels(correct, p.size)
    weight = as_weights(weights, p.size)
    return float(np.average(np.square(p - y), weights=weight)) if p.size else None


def brier_skill(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return 1 − Brier / (Brier of always predicting the base rate): 1 is perfect, 0 is no better than the base rate.

    Murphy 1973. ``confidence`` (n,), ``correct`` (n,). None where n is 0 or the labels are of one class.
    """
    score = brier(confidence, correct, weights)
    if score is None:
        return None
    y = as_labels(correct, np.asarray(correct).size)
    rate = float(np.average(y, weights=as_weights(weights, y.size)))
    uncertainty = rate * (1 - rate)
    return 1 - score / uncertainty if y.min() < y.max() else None


def log_loss(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the mean negative log-likelihood in nats, >= 0, of ``correct`` (n,) under ``confidence`` (n,).

    Good 1952. ``weights`` as in ``brier``; confidences are clipped to [1e-15, 1 − 1e-15]. None where n is 0.
    """
    p = as_confidence(confidence)
    y = as_labels(correct, p.size)
    weight = as_weights(weights, p.size)
    given = np.clip(np.where(y == 1, p, 1 - p), CERTAIN, 1 - CERTAIN)
    return float(np.average(-np.log(given), weights=weight)) if p.size else None


@dataclass(frozen=True, slots=True)
class BrierParts:
    """``brier = reliability − resolution + uncertainty + within``.

    Lower ``reliability`` >= 0 and higher ``resolution`` >= 0 are better. ``uncertainty`` is the variance of the
    base rate. ``within`` is the contribution of the spread inside the bins, 0 where each distinct confidence has
    a bin.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_decomposition(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> BrierParts | None:
    """Decompose the Brier score of ``confidence`` (n,) and ``correct`` (n,); None where n is 0.

    Murphy 1973, over bins of equal mass, with the within-bin remainder of Stephenson, Coelho & Jolliffe 2008.
    """
    total = brier(confidence, correct)
    if total is None:
        return None
    table = Bins.of(confidence, correct, bins)
    share = table.count / table.count.sum()
    rate = float(table.right.sum() / table.count.sum())
    observed = table.right / table.count
    calibration = float(share @ np.square(table.confidence / table.count - observed))
    resolution = float(share @ np.square(observed - rate))
    uncertainty = rate * (1 - rate)
    return BrierParts(
        total, calibration, resolution, uncertainty, total - (calibration - resolution + uncertainty)
    )
