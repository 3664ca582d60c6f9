"""The numbers behind the page's three drawings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics import reliability, risk_coverage
from gating.risk import lower_bound, upper_bound

if TYPE_CHECKING:
    from gating.tuning import ScoredAnswers

#: Every interval of the page, the bands' too, has this level.
LEVEL = 0.95
#: Points of the risk-coverage curve: no screen shows more, and each has two exact bounds.
POINTS = 120
#: Of the reliability diagram: few enough that each holds answers to count.
BINS = 10
#: Of the histogram, 0.05 wide.
BARS = 20

Interval = tuple[float, float]


def share_interval(count: int, n: int) -> Interval | None:
    """The Clopper-Pearson interval of ``count`` among ``n`` at LEVEL; None where n is 0."""
    tail = (1 - LEVEL) / 2
    return (lower_bound(count, n, tail), upper_bound(count, n, tail)) if n else None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Answering from ``threshold`` on: coverage among all, risk among answered, and the risk's interval."""

    threshold: float
    coverage: float
    risk: float
    interval: Interval


def risk_curve(judged: ScoredAnswers) -> tuple[CurvePoint, ...]:
    """At most POINTS of the risk-coverage curve, evenly spaced, with a pointwise Clopper-Pearson band."""
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
    """``count`` answers of a mean ``confidence``: the share of them that is ``right``, with its interval."""

    confidence: float
    right: float
    count: int
    interval: Interval | None


def reliability_bins(judged: ScoredAnswers) -> tuple[ReliabilityBin, ...]:
    """At most BINS bins of equal mass, rising."""
    return tuple(
        ReliabilityBin(confidence, right, count, share_interval(round(right * count), count))
        for confidence, right, count in reliability(*judged.labelled(), bins=BINS)
    )


@dataclass(frozen=True, slots=True)
class Histogram:
    """Answers by confidence in bars of equal width over [0, 1]: ``right`` and ``wrong`` (BARS,)."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]


def histogram(judged: ScoredAnswers) -> Histogram:
    """Counted over the answers that have a confidence and a label."""
    confidence, correct = judged.labelled()
    right, wrong = (
        tuple(np.histogram(confidence[correct == label], BARS, (0.0, 1.0))[0].tolist()) for label in (1, 0)
    )
    return Histogram(right, wrong)
