"""The risk-coverage curve of a route, estimated from its audit sample, of which people have labelled a part.

People label the least confident answers first, so the labelled answers are not a random part of the sample. Within a
narrow band of confidence they are nearly random, so each label is weighted by its band's share of the sample
(post-stratification, Holt & Smith 1979). These are estimates; they never certify a policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec.structs import replace

from calibrators.metrics import auroc, brier_skill, ece, ece_noise_floor, reliability
from gating.drift import observed_risk
from proxy.admin.schema import Point, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BANDS = 10
#: The thresholds of the curve.
STEPS = 100
DELTA = 0.1
#: Bins of the reliability diagram.
_BINS = 10


class Seen(NamedTuple):
    """One answer of the audit sample: its confidence in [0, 1] or None, and a person's label or None."""

    confidence: float | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates from the measured answers of a sample of ``total`` answers.

    All arrays have shape (m,), one entry for each measured answer: ``confidence``; ``declined``, labelled as the
    model's own abstention; ``labelled``, labelled right or wrong; ``wrong``; and ``share``, the probability that an
    answer of this confidence has a label.
    """

    total: int
    confidence: Floats
    declined: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    share: Floats

    @classmethod
    def of(cls, seen: Iterable[Seen]) -> Estimates:
        """Build the estimates from the whole sample, labelled or not."""
        every = list(seen)
        measured = [one for one in every if one.confidence is not None]
        confidence = np.array([one.confidence for one in measured], dtype=np.float64)
        labels = np.array([one.label or "" for one in measured], dtype=object)
        known = labels != ""
        return cls(
            total=len(every),
            confidence=confidence,
            declined=labels == "abstained",
            labelled=(labels == "correct") | (labels == "incorrect"),
            wrong=labels == "incorrect",
            share=_shares(confidence, known),
        )

    @property
    def n(self) -> int:
        """The number of answers that are labelled right or wrong."""
        return int(self.labelled.sum())

    def at(self, threshold: float, certified: float | None = None) -> Point:
        """Return coverage and risk at a threshold; ``certified`` is the target risk that is certified there."""
        served = self.confidence >= threshold
        coverage = float((served & ~self.declined).sum() / self.total) if self.total else 0.0
        of = self.labelled
        found = observed_risk(self.wrong[of], served[of], self.share[of], DELTA)
        return Point(
            threshold=threshold,
            coverage=coverage,
            risk=found.risk,
            low=found.low,
            high=found.high,
            errors=found.counts.errors,
            answered=found.counts.answered,
            words=sentence(coverage if self.total else None, found.risk, found.low, found.high, certified),
        )

    def curve(self, at: float | None, certified: float | None) -> list[Point]:
        """Return the points from threshold 0 to 1, the threshold in force included."""
        grid = {step / STEPS for step in range(STEPS + 1)} | ({at} if at is not None else set())
        points: list[Point] = []
        for each in sorted(grid):
            # An exact interval takes milliseconds, so a point is copied where no confidence lies in between.
            if (
                points
                and each != at != points[-1].threshold
                and not self._between(points[-1].threshold, each)
            ):
                points.append(replace(points[-1], threshold=each))
            else:
                points.append(self.at(each, certified if each == at else None))
        return points

    def _between(self, low: float, high: float) -> bool:
        return bool(((self.confidence >= low) & (self.confidence < high)).any())

    def withheld(self, threshold: float | None) -> tuple[int, int]:
        """Return the numbers of right and of wrong labelled answers below the threshold."""
        below = self.labelled & (self.confidence < (0.0 if threshold is None else threshold))
        return int((below & ~self.wrong).sum()), int((below & self.wrong).sum())

    def quality(self) -> Quality:
        """Return the quality figures of the labelled answers, without weights."""
        confidence, correct = self.confidence[self.labelled], ~self.wrong[self.labelled]
        right = correct.astype(np.float64)
        return Quality(
            bins=reliability(confidence, right, _BINS),
            n=self.n,
            base_rate=float(right.mean()) if right.size else None,
            auroc=auroc(confidence, right),
            brier_skill=brier_skill(confidence, right),
            ece=ece(confidence, right, _BINS),
            ece_noise=ece_noise_floor(confidence, _BINS),
        )


@lru_cache(maxsize=64)
def estimated(
    seen: tuple[Seen, ...], threshold: float | None, certified: float | None
) -> tuple[Estimates, list[Point]]:
    """Return the estimates and their curve, cached: a hundred exact intervals take a quarter of a second."""
    estimates = Estimates.of(seen)
    return estimates, estimates.curve(threshold, certified)


def _shares(confidence: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return the share of labelled answers in each answer's band; 1 in a band without labels, which is not read."""
    if not confidence.size:
        return confidence
    edges = np.unique(np.quantile(confidence, np.arange(1, BANDS) / BANDS, method="inverted_cdf"))
    band = np.searchsorted(edges, confidence)
    drawn = np.bincount(band, minlength=edges.size + 1)
    has = np.bincount(band, known, minlength=edges.size + 1)
    with np.errstate(invalid="ignore"):
        share: Floats = np.where(has > 0, has / drawn, 1.0)[band]
    return share


def sentence(
    coverage: float | None, risk: float | None, low: float, high: float, certified: float | None
) -> str:
    """Describe a threshold: ``Answers 82 %, wrong 3.1 % of them (2.0 to 4.4 %), certified ≤ 5 %.``"""
    if coverage is None:
        return "Nothing is known yet: the audit sample is empty."
    said = [f"Answers {_percent(coverage)}" if coverage else "Answers nothing"]
    if coverage and risk is None:
        said.append("the share of wrong ones is not known: none of them is labelled")
    elif coverage and risk is not None:
        said.append(f"wrong {_percent(risk)} of them ({100 * low:.1f} to {100 * high:.1f} %)")
    said.append("not certified" if certified is None else f"certified ≤ {_percent(certified)}")
    return ", ".join(said) + "."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
