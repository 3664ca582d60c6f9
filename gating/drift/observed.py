"""The observed risk on audit labels, with a confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gating.risk import check_level, lower_bound, upper_bound
from gating.threshold import checked_scores
from gating.types import GatingError, RiskEstimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ObservedRisk:
    """Unweighted ``counts`` of the labels, and ``risk`` and ``coverage`` weighted by propensities, or None.

    The risk lies in [``low``, ``high``] with probability about 1 - delta ([0, 1] without labels). ``effective``
    is the effective number of labels. This is an estimate, not a certificate.
    """

    counts: RiskEstimate
    risk: float | None
    coverage: float | None
    low: float
    high: float
    effective: float


def observed_risk(
    wrong: ArrayLike, served: ArrayLike, propensity: ArrayLike | None = None, delta: float = 0.1
) -> ObservedRisk:
    """Estimate the share of wrong answers among all served ones, from labels that were drawn at random.

    ``wrong`` and ``served`` (n,) in {0, 1}; ``propensity`` (n,) in (0, 1] is the probability with which each
    answer was drawn (None: equal). Each label counts for 1/propensity answers (Horvitz & Thompson 1952), and
    the risk is the ratio of two such sums (Hájek 1971). The interval is the exact binomial one (Clopper &
    Pearson 1934); with unequal propensities it uses Kish's effective size (Korn & Graubard 1998), which is
    approximate. Labels must not be chosen by the content of the answers: then the sample is not random, and
    weights cannot correct it. Raises GatingError on NaN, unequal lengths and numbers out of range.
    """
    check_level(delta, "delta")
    wrong_labels, served_labels = _flags(wrong, "wrong"), _flags(served, "served")
    chance = checked_scores(np.ones(wrong_labels.size) if propensity is None else propensity, "propensity")
    if not wrong_labels.size == served_labels.size == chance.size:
        raise GatingError(
            f"audit labels: {wrong_labels.size} wrong, {served_labels.size} served and {chance.size} "
            "propensities; give one of each for every label"
        )
    if not ((chance > 0) & (chance <= 1)).all():
        raise GatingError("propensity: the probability of being drawn lies in (0, 1]")
    weight, out = 1.0 / chance, served_labels == 1
    errors = out & (wrong_labels == 1)
    counts = RiskEstimate(int(errors.sum()), int(out.sum()), int(chance.size))
    coverage = float(weight[out].sum() / weight.sum()) if chance.size else None
    if not counts.answered:
        return ObservedRisk(counts, None, coverage, 0.0, 1.0, 0.0)
    risk = float(weight[errors].sum() / weight[out].sum())
    effective = float(weight[out].sum() ** 2 / np.square(weight[out]).sum())
    return ObservedRisk(counts, risk, coverage, *_interval(risk, effective, delta), effective)


def _interval(risk: float, effective: float, delta: float) -> tuple[float, float]:
    """Return the two-sided interval at whole counts, rounded so that the interval is wider."""
    n = max(math.floor(effective + 1e-9), 1)
    most = min(math.ceil(risk * n - 1e-9), n)
    least = math.floor(risk * n + 1e-9)
    return lower_bound(least, n, delta / 2), upper_bound(most, n, delta / 2)


def _flags(values: ArrayLike, where: str) -> Floats:
    """Check that ``values`` (n,) are 0 or 1 and return them as float64."""
    flags = checked_scores(np.asarray(values, dtype=np.float64), where)
    if ((flags != 0) & (flags != 1)).any():
        raise GatingError(f"{where}: every value must be 1 or 0")
    return flags
