"""Conversion of scores to log-odds, on which calibrators work and scores of several scales can be added."""

from __future__ import annotations

from math import expm1, log, log1p
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gating.scorers.base import Scale

#: Log-odds of 1 - 2**-24, the float32 below 1: servers cannot distinguish higher probabilities.
UPPER = log(2.0**24 - 1.0)
#: ln of the smallest normal float64, 2**-1022; lower logarithms have no probability in float64.
LOWER = -1022 * log(2.0)


def _of_logprob(score: float) -> float:
    """Return logit(exp(s)) = s - ln(1 - exp(s)), exact near 0."""
    if score >= 0.0:
        return UPPER
    return min(max(score - log(-expm1(score)), LOWER), UPPER)


def _of_probability(score: float) -> float:
    """Return logit(p)."""
    if score <= 0.0:
        return LOWER
    if score >= 1.0:
        return UPPER
    return min(max(log(score) - log1p(-score), LOWER), UPPER)


def _of_real(score: float) -> float:
    return score


#: The conversion for each scale. None decreases; for logprob and probability the result lies in [LOWER, UPPER].
TO_LOG_ODDS: Mapping[Scale, Callable[[float], float]] = {
    "logprob": _of_logprob,
    "probability": _of_probability,
    "real": _of_real,
}


def infer_scale(values: Iterable[float]) -> Scale:
    """Return the narrowest scale that contains all ``values``; features do not state their scale."""
    low, high = float("inf"), float("-inf")
    for value in values:
        low, high = min(low, value), max(high, value)
    if low >= 0.0 and high <= 1.0:
        return "probability"
    return "logprob" if high <= 0.0 else "real"
