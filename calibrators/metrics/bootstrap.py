"""Bootstrap intervals for any measure, with whole groups resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibrators.errors import CalibrationError
from calibrators.rows import as_labels, as_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


def group_bootstrap(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float | None],
    scores: ArrayLike,
    correct: ArrayLike,
    rng: np.random.Generator,
    *,
    groups: ArrayLike | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return the percentile interval ``(low, high)`` of ``measure(scores, correct)`` over resampled groups.

    Efron 1979, by cluster as Davison & Hinkley 1997 (§3.8): rows of one question are not independent, so whole
    groups (n,) are drawn, as many as there are; with None each row is a group. ``scores`` (n,), ``correct`` (n,).
    Draws where the measure is undefined are left out; the result is None where they are half or more, or n is 0.
    """
    if draws < 1 or not 0 < level < 1:
        raise CalibrationError(f"draws is {draws} and level {level}: draws >= 1 and 0 < level < 1 are needed")
    values = as_scores(scores)
    labels = as_labels(correct, values.size)
    if not values.size:
        return None
    members, counts = _by_group(groups, values.size)
    starts = np.cumsum(counts) - counts
    found = []
    for _ in range(draws):
        drawn = rng.integers(counts.size, size=counts.size)
        rows = members[_concatenated(starts[drawn], counts[drawn])]
        one = measure(values[rows], labels[rows])
        if one is not None:
            found.append(one)
    if len(found) <= draws / 2:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _by_group(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows (n,) sorted by group, and the sizes of the groups (m,)."""
    if groups is None:
        return np.arange(n), np.ones(n, dtype=np.intp)
    values = np.asarray(groups)
    if values.shape != (n,):
        raise CalibrationError(f"groups: shape {values.shape} for {n} rows")
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.argsort(index, kind="stable"), counts


def _concatenated(starts: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the ranges start, start + 1, … of the given lengths, concatenated."""
    shift = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    rows: NDArray[np.intp] = np.arange(counts.sum()) + shift
    return rows
