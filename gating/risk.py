"""Exact binomial tails, and the exact confidence bounds on a risk (Clopper & Pearson 1934).

Tails are computed from the ratios of neighbouring terms. Differences of ``lgamma`` would lose eight of the
sixteen digits at 10⁶ trials.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

#: exp(-745) is about the smallest positive double, so terms beyond it are zero.
_UNDERFLOW = 745.0
#: Cells of a table of tails that are held in memory at once (8 MB of float64).
_CELLS = 1_000_000


def check_level(value: float, name: str) -> float:
    """Return ``value`` as a float; raises GatingError, naming it, unless it lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise GatingError(f"{name} is {value}; it must lie strictly between 0 and 1")
    return float(value)


def _weights(n: int, p: float) -> tuple[int, Floats]:
    """Return the first k and the probabilities P(Bin(n, p) = k), k+1, … of all terms that do not underflow."""
    mode = min(int((n + 1) * p), n)
    # Bernstein: P(|X - np| >= t) <= exp(-t² / 2(npq + t/3)), solved for the exponent that underflows.
    reach = (
        math.ceil(_UNDERFLOW / 3 + math.sqrt((_UNDERFLOW / 3) ** 2 + 2 * _UNDERFLOW * n * p * (1 - p))) + 1
    )
    first, last = max(0, mode - reach), min(n, mode + reach)
    odds = math.log(p) - math.log1p(-p)
    up = np.arange(mode, last, dtype=np.float64)
    down = np.arange(mode, first, -1, dtype=np.float64)
    rise = np.cumsum(np.log((n - up) / (up + 1)) + odds)
    fall = np.cumsum(np.log(down / (n - down + 1)) - odds)
    weights = np.exp(np.concatenate([fall[::-1], [0.0], rise]))
    return first, weights / weights.sum()


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(Bin(n, p) <= k) for p in [0, 1] and any k."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    first, weights = _weights(n, p)
    return float(weights[: max(0, k - first + 1)].sum())


def binomial_sf(k: int, n: int, p: float) -> float:
    """Return P(Bin(n, p) >= k) as a sum, not as a difference from 1, so that small values keep their digits."""
    if k <= 0 or k > n or p <= 0 or p >= 1:
        return float(k <= 0 or (k <= n and p >= 1))
    first, weights = _weights(n, p)
    return float(weights[max(0, k - first) :].sum())


def _least(true_above: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Return the neighbouring doubles between which ``true_above`` changes from False to True in [low, high]."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if true_above(middle) else (middle, high)
    return low, high


def upper_bound(errors: int, n: int, delta: float) -> float:
    """Return the Clopper-Pearson upper bound: the least risk p with P(Bin(n, p) <= errors) <= delta, in (0, 1].

    ``errors`` of ``n`` labels are wrong; the bound exceeds the true risk with probability >= 1 - delta. It is 1
    for n = 0 and for errors = n. It is never below errors / n, although the exact bound can be for delta above
    a half. Raises GatingError unless 0 <= errors <= n.
    """
    _check_counts(errors, n)
    check_level(delta, "delta")
    if errors == n:
        return 1.0
    return _least(lambda p: binomial_cdf(errors, n, p) <= delta, errors / n, 1.0)[1]


def lower_bound(errors: int, n: int, delta: float) -> float:
    """Return the Clopper-Pearson lower bound: the greatest risk p with P(Bin(n, p) >= errors) <= delta, in [0, 1)."""
    _check_counts(errors, n)
    check_level(delta, "delta")
    if errors == 0:
        return 0.0
    return _least(lambda p: binomial_sf(errors, n, p) > delta, 0.0, errors / n)[0]


def k_max(n: ArrayLike, alpha: float, delta: float) -> Counts:
    """Return the most errors among ``n`` labels that still certify ``risk <= alpha`` at level 1 - delta.

    ``n`` (m,) or a single count; returns int64 of the same shape: the greatest k whose Clopper-Pearson upper
    bound is <= alpha, which is the greatest k < n·alpha with P(Bin(n, alpha) <= k) <= delta, or -1 where
    even no error at all is too little evidence.
    """
    check_level(alpha, "target risk")
    check_level(delta, "delta")
    counts = np.asarray(n, dtype=np.int64)
    distinct, places = np.unique(counts.ravel(), return_inverse=True)
    # Cantelli: at np + sd·sqrt(δ/(1-δ)) the lower tail is above δ already, so that no column is missing.
    mean = distinct * alpha
    reach = np.floor(mean + np.sqrt(mean * (1 - alpha) * delta / (1 - delta))).astype(np.int64) + 1
    allowed = np.empty(distinct.size, dtype=np.int64)
    for rows in row_blocks(reach):
        trials = distinct[rows, None].astype(np.float64)
        k = np.arange(reach[rows].max(), dtype=np.float64)
        with np.errstate(divide="ignore"):  # no term beyond k = n: log 0 = -inf is its weight
            ratios = np.log(np.maximum(trials - k, 0) / (k + 1)) + (math.log(alpha) - math.log1p(-alpha))
        tails = lower_tails(trials[:, 0] * math.log1p(-alpha), ratios)
        allowed[rows] = np.minimum((tails <= delta).sum(axis=1), np.ceil(mean[rows])) - 1
    # The result is -1 for fewer than ln δ / ln(1-α) labels, n = 0 included.
    return allowed[places].reshape(counts.shape)


def lower_tails(log_first: Floats, log_ratios: Floats) -> Floats:
    """Return the cumulative sums (m, k+1) of m discrete laws, given log P(0) (m,) and log P(j+1)/P(j) (m, k)."""
    logs = np.concatenate([log_first[:, None], log_ratios], axis=1)
    return np.cumsum(np.exp(np.cumsum(logs, axis=1)), axis=1)


def row_blocks(columns: Counts) -> list[slice]:
    """Return consecutive slices of a table's rows, each of at most _CELLS cells; rows have ``columns`` (m,) cells."""
    if columns.size == 0:
        return []
    step = max(1, _CELLS // max(1, int(columns.max())))
    return [slice(start, start + step) for start in range(0, columns.size, step)]


def _check_counts(errors: int, n: int) -> None:
    if not 0 <= errors <= n:
        raise GatingError(f"counts do not nest: {errors} errors among {n} labels")
