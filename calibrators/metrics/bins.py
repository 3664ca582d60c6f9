"""Bins of equal mass that never split tied confidences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from calibrators.errors import CalibrationError
from calibrators.rows import as_confidence, as_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: The number of bins of Guo et al. 2017, which most later papers use.
BINS = 15


@dataclass(frozen=True, slots=True)
class Bins:
    """Sums over the non-empty bins (b,), in ascending order: rows, confidences, p(1 − p), right answers."""

    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    variance: NDArray[np.float64]
    right: NDArray[np.float64]

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Self:
        """Bin ``confidence`` (n,) in [0, 1] and ``correct`` (n,) into at most ``bins`` bins; none where n is 0.

        All rows of one confidence go into the bin that contains the middle of their mass. Where there are no more
        distinct confidences than bins, each has a separate bin.
        """
        if bins < 1:
            raise CalibrationError(f"bins is {bins}: at least one is needed")
        p = as_confidence(confidence)
        labels = as_labels(correct, p.size)
        if not p.size:
            return cls(p, p, p, p)
        distinct, level, count = np.unique(p, return_inverse=True, return_counts=True)
        right = np.bincount(level, labels, distinct.size)
        if distinct.size <= bins:
            bin_of = np.arange(distinct.size)
        else:
            middle = np.cumsum(count) - count / 2
            bin_of = np.minimum((middle / p.size * bins).astype(np.int64), bins - 1)
        starts = np.flatnonzero(np.diff(bin_of, prepend=-1))
        columns = (count.astype(np.float64), count * distinct, count * distinct * (1 - distinct), right)
        return cls(*(np.asarray(np.add.reduceat(column, starts), np.float64) for column in columns))
