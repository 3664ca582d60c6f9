"""Signs of drift without labels: are the confidences of now drawn as those of the policy's own labels were?

Both tests take samples whose members are independent. They say that traffic has changed, and nothing of the
risk: confidences may shift while the answers stay right, and answers go wrong at the same confidences.

Sample sizes. At level 0.1 KS with 500 on either side finds curves 0.12 apart in nine looks of ten, curves 0.05
apart in four. Where nothing has changed PSI is expected at (bins − 1)(1/n + 1/m): at 0.09 for 200 against 200 in
ten bins. The usual limits of 0.1 and 0.25 mean nothing below some 500 on each side; its p-value does.

Many looks. A test at level 0.05 that is looked at every hour is passed by nothing for long. ``level_of_look``
spends a level over endless looks; without it p-values are for one look that was fixed beforehand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gating.risk import check_level
from gating.threshold import checked_scores
from gating.types import GatingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Fewer on either side show nothing short of another model.
LEAST = 50
#: Kolmogorov's series: terms beyond these are below a double's precision from 0.2 on.
_TERMS = 101
_SERIES_FROM = 0.2


class Shift(NamedTuple):
    """How far apart two samples lie, and the probability of that or more where nothing has changed."""

    distance: float
    p_value: float


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> Shift | None:
    """The greatest distance in [0, 1] between the empirical curves of ``reference`` (n,) and ``current`` (m,).

    The p-value is Smirnov's limit (1939), by Kolmogorov's series at √(nm/(n+m)) times the distance: in small
    samples and with ties too large, and between 10⁻⁴ and 0.2 never more than half a per cent of itself too
    small. None where a side has fewer than LEAST. Raises GatingError on NaN.
    """
    old, new = np.sort(checked_scores(reference, "reference")), np.sort(checked_scores(current, "current"))
    if min(old.size, new.size) < LEAST:
        return None
    every = np.concatenate([old, new])
    below_old = np.searchsorted(old, every, side="right") / old.size
    below_new = np.searchsorted(new, every, side="right") / new.size
    distance = float(np.abs(below_old - below_new).max())
    effective = old.size * new.size / (old.size + new.size)
    return Shift(distance, kolmogorov_sf(math.sqrt(effective) * distance))


def kolmogorov_sf(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution (1933): 2 Σ (−1)^(k−1) exp(−2k²x²)."""
    if x < _SERIES_FROM:
        return 1.0
    k = np.arange(1, _TERMS)
    return float(np.clip(2.0 * np.sum((-1.0) ** (k - 1) * np.exp(-2.0 * (k * x) ** 2)), 0.0, 1.0))


def population_stability(reference: ArrayLike, current: ArrayLike, bins: int = 10) -> Shift | None:
    """Population stability index Σ (q − p) ln(q/p) over ``bins`` quantile bins of ``reference`` (n,).

    ``current`` has shape (m,). Half an answer is added to each bin, so that none is empty. Tied confidences
    share a bin, which may leave fewer bins. Where nothing has changed, the index divided by (1/n + 1/m) is
    nearly chi-squared with bins − 1 degrees of freedom (Yurdakul 2018, "Statistical properties of population
    stability index"); that gives the p-value. None where a side has fewer than LEAST, or one bin is left.
    """
    if bins < 2:
        raise GatingError(f"bins is {bins}; at least 2 are needed")
    old, new = checked_scores(reference, "reference"), checked_scores(current, "current")
    if min(old.size, new.size) < LEAST:
        return None
    edges = np.unique(np.quantile(old, np.arange(1, bins) / bins, method="inverted_cdf"))
    shares = [_shares(old, edges), _shares(new, edges)]
    occupied = shares[0] * old.size + shares[1] * new.size > 0
    used = int(occupied.sum())
    if used < 2:
        return None
    p, q = (
        (share[occupied] * size + 0.5) / (size + used / 2)
        for share, size in zip(shares, (old.size, new.size), strict=True)
    )
    index = float(np.sum((q - p) * np.log(q / p)))
    return Shift(index, chi_squared_sf(index / (1 / old.size + 1 / new.size), used - 1))


def _shares(values: Floats, edges: Floats) -> Floats:
    """The share of ``values`` in each bin; a bin ends with its edge."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=edges.size + 1)
    return counts / values.size


def chi_squared_sf(x: float, freedom: int) -> float:
    """P(X > x), x >= 0, of a chi-squared X with ``freedom`` >= 1 degrees (Abramowitz & Stegun, 26.4.4-5)."""
    half = x / 2
    if half == 0.0:
        return 1.0
    tail, place = (math.exp(-half), 1.0) if freedom % 2 == 0 else (math.erfc(math.sqrt(half)), 0.5)
    for step in range((freedom - 1) // 2):
        power = place + step
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(tail, 1.0)


def level_of_look(look: int, delta: float) -> float:
    """The level of the look number ``look`` (from 1): δ / (look · (look + 1)), which sums to δ over them all.

    By Bonferroni's inequality false alarms of all looks together have probability <= ``delta``, also where
    their samples overlap.
    """
    check_level(delta, "delta")
    if look < 1:
        raise GatingError(f"look is {look}; looks count from 1")
    return delta / (look * (look + 1))
