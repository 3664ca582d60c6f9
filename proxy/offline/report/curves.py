"""The data of the report's charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics import reliability, risk_coverage
from gating.risk import lower_bound, upper_bound

if TYPE_CHECKING:
    from gating.tuning import ScoredAnswers

#: The level of every interval and band on the page.
LEVEL = 0.95
#: Points of the risk-coverage curve: a screen shows no more, and each needs two exact bounds.
POINTS = 120
#: Bins of the reliability diagram: few, so that each holds enough answers.
BINS = 10
#: Bars of the histogram, each 0.05 wide.
BARS = 20

Interval = tuple[float, float]


def share_interval(count: int, n: int) -> Interval | None:
    """Return the Clopper-Pearson interval of ``count`` among ``n`` at LEVEL; None where n is 0."""
    tail = (1 - LEVEL) / 2
    return (lower_bound(count, n, tail), upper_bound(count, n, tail)) if n else None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the curve: coverage among all answers, and risk among the answered with its interval."""

    threshold: float
    coverage: float
    risk: float
    interval: Interval


def risk_curve(judged: ScoredAnswers) -> tuple[CurvePoint, ...]:
    """Return at most POINTS evenly spaced points of the curve, with a pointwise Clopper-Pearson band."""
    curve = risk_coverage(*judged.labelled())
    if curve is None:
        return ()
    even = np.searchsorted(curve.answered, np.linspace(1, curve.answered[-1], POINTS))
    points = []
    for place in np.unique(even).tolist():
        errors, answered = int(curve.errors[place]), int(curve.answered[place])
        interval = share_interval(errors, answered)
        if interval is not None:
            threshold = float(curve.thresholds[place])
            points.append(CurvePoint(threshold, answered / len(judged), errors / answered, interval))
    return tuple(points)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """A bin of ``count`` answers: their mean ``confidence``, and the share that is ``right`` with its interval."""

    confidence: float
    right: float
    count: int
    interval: Interval | None


def reliability_bins(judged: ScoredAnswers) -> tuple[ReliabilityBin, ...]:
    """Return at most BINS bins of about equal size, by rising confidence."""
    return tuple(
        ReliabilityBin(confidence, right, count, share_interval(round(right * count), count))
        for confidence, right, count in reliability(*judged.labelled(), bins=BINS)
    )


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of ``right`` and ``wrong`` answers (BARS,) in bars of equal width over confidence in [0, 1]."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]


def histogram(judged: ScoredAnswers) -> Histogram:
    """Count the answers that have a confidence and a label."""
    confidence, correct = judged.labelled()
    right, wrong = (
        tuple(np.histogram(confidence[correct == label], BARS, (0.0, 1.0))[0].tolist()) for label in (1, 0)
    )
    return Histogram(right, wrong)
