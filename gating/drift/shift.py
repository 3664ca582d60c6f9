"""Drift tests without labels: compare present confidences with those at the time the policy was fitted.

Both tests require independent observations. They detect that the traffic has changed, not that the risk has:
confidences may shift while answers stay right, and answers may become wrong at the same confidences.

Sample sizes. At level 0.1 the Kolmogorov-Smirnov test with 500 observations on each side detects a distance of
0.12 in nine of ten looks, and 0.05 in four of ten. Without a change, the expected PSI is (bins − 1)(1/n + 1/m):
0.09 for 200 against 200 in ten bins. The usual limits of 0.1 and 0.25 are not meaningful below some 500 on each
side; the p-value is.

Repeated looks. A test at level 0.05 that is repeated every hour raises a false alarm soon. ``level_of_look``
divides a level over infinitely many looks; without it a p-value is valid for one look fixed in advance.
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

#: Fewest observations on each side of a test.
LEAST = 50
#: Terms of Kolmogorov's series; from 0.2 on, later terms are below double precision.
_TERMS = 101
_SERIES_FROM = 0.2


class Shift(NamedTuple):
    """The distance of two samples, and the probability of at least that distance if nothing has changed."""

    distance: float
    p_value: float


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> Shift | None:
    """Return the greatest distance in [0, 1] between the empirical distributions of two samples, with its p-value.

    ``reference`` (n,) and ``current`` (m,). The p-value is Smirnov's limit (1939), by Kolmogorov's series at
    √(nm/(n+m)) times the distance. It is too large in small samples and with ties; between 10⁻⁴ and 0.2 it is
    never too small by more than 0.5 % of its value. None where a side has fewer than LEAST. Raises GatingError
    on NaN.
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
    """Return P(K > x) of Kolmogorov's distribution (1933): 2 Σ (−1)^(k−1) exp(−2k²x²)."""
    if x < _SERIES_FROM:
        return 1.0
    k = np.arange(1, _TERMS)
    return float(np.clip(2.0 * np.sum((-1.0) ** (k - 1) * np.exp(-2.0 * (k * x) ** 2)), 0.0, 1.0))


def population_stability(reference: ArrayLike, current: ArrayLike, bins: int = 10) -> Shift | None:
    """Return the population stability index Σ (q − p) ln(q/p) over ``bins`` quantile bins of ``reference`` (n,).

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
    """Return the share of ``values`` in each bin; a value equal to an edge belongs to the bin below."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=edges.size + 1)
    return counts / values.size


def chi_squared_sf(x: float, freedom: int) -> float:
    """Return P(X > x), x >= 0, for a chi-squared X with ``freedom`` >= 1 degrees (Abramowitz & Stegun, 26.4.4-5)."""
    half = x / 2
    if half == 0.0:
        return 1.0
    tail, place = (math.exp(-half), 1.0) if freedom % 2 == 0 else (math.erfc(math.sqrt(half)), 0.5)
    for step in range((freedom - 1) // 2):
        power = place + step
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(tail, 1.0)


def level_of_look(look: int, delta: float) -> float:
    """Return the level of look number ``look`` (from 1): δ / (look · (look + 1)), which sums to δ over all looks.

    By Bonferroni's inequality, a false alarm in any look has probability <= ``delta``, also where the samples of
    the looks overlap.
    """
    check_level(delta, "delta")
    if look < 1:
        raise GatingError(f"look is {look}; looks count from 1")
    return delta / (look * (look + 1))
