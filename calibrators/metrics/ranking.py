"""Ranking metrics: how well scores separate right from wrong answers."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from calibrators.errors import CalibrationError
from calibrators.rows import as_labels, as_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def auroc(scores: ArrayLike, correct: ArrayLike) -> float | None:
    """Return P(a right answer's score > a wrong one's) + ½ P(equal), in [0, 1]; None where a class is absent.

    Mann & Whitney 1947 with midranks for ties; ``scores`` (n,) on any scale, ±inf allowed, ``correct`` (n,).
    """
    values = as_scores(scores)
    labels = as_labels(correct, values.size)
    right = int(labels.sum())
    wrong = values.size - right
    if not right or not wrong:
        return None
    _, level, count = np.unique(values, return_inverse=True, return_counts=True)
    midrank = np.cumsum(count) - (count - 1) / 2
    rank_sum = float(midrank[level] @ labels)
    return (rank_sum - right * (right + 1) / 2) / (right * wrong)


def auroc_interval(scores: ArrayLike, correct: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Return an interval ``(low, high)`` in [0, 1] for ``auroc`` with about ``level`` coverage; None where it is None.

    The method is Newcombe's (2006, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic", part 2, method 5), with Hanley & McNeil's (1982) variance: the values θ whose distance from
    the estimate is at most z standard errors at θ. Unlike DeLong's interval, it has a positive width at 0 and 1,
    which are common with few labels.
    """
    if not 0 < level < 1:
        raise CalibrationError(f"level is {level}: between 0 and 1 is needed")
    estimate = auroc(scores, correct)
    if estimate is None:
        return None
    labels = np.asarray(correct, dtype=np.float64)
    right = int(labels.sum())
    wrong = labels.size - right
    z = NormalDist().inv_cdf((1 + level) / 2)
    return (
        1 - _farthest(1 - estimate, right, wrong, z),
        _farthest(estimate, right, wrong, z),
    )


def _farthest(estimate: float, right: int, wrong: int, z: float) -> float:
    """Return the largest θ in [estimate, 1] within ``z`` of its standard errors; symmetric in the two classes."""
    low, high = estimate, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = middle - estimate <= z * _standard_error(middle, right, wrong)
        low, high = (middle, high) if inside else (low, middle)
    return low


def _standard_error(area: float, right: int, wrong: int) -> float:
    """Return Hanley & McNeil's standard error with Newcombe's symmetric (m + n)/2 − 1 for both class sizes."""
    half = (right + wrong) / 2 - 1
    spread = 1 + half * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(max(area * (1 - area) * spread, 0.0) / (right * wrong))
