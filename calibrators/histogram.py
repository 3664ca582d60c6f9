"""Histogram binning with bins of equal mass, pooled to be monotone (Zadrozny & Elkan 2001)."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from calibrators.base import Calibrator
from calibrators.errors import CalibrationError
from calibrators.pooling import pool
from calibrators.rows import Levels
from calibrators.saved import check_header, increasing, inner_probabilities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

#: Fewest labels in a bin, which keep its standard error near 0.1.
LABELS_IN_A_BIN = 20


class HistogramCalibrator(Calibrator):
    """A staircase: the smoothed share of right answers in each of up to ``max_bins`` bins of equal mass.

    Source: Zadrozny & Elkan 2001, "Obtaining calibrated probability estimates from decision trees and naive
    Bayesian classifiers", §4. There are three differences: tied scores share a bin, each bin has half a right and
    half a wrong answer added (Krichevsky & Trofimov 1981), and neighbouring bins are pooled where the share
    decreases, since a confidence must not decrease in the score. A bin begins at its lowest score, so a score in
    a gap belongs to the bin below.
    """

    kind = "histogram"
    edges_: tuple[float, ...]
    values_: tuple[float, ...]

    def __init__(self, max_bins: int = 20) -> None:
        if max_bins < 1:
            raise CalibrationError(f"max_bins is {max_bins}: at least one bin is needed")
        self.max_bins = max_bins

    def fit(self, scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit as ``Calibrator.fit``, with at least 20 (effective) labels in each bin unless ties prevent it."""
        levels = Levels.of(scores, correct, weights)
        bins = min(self.max_bins, max(1, int(levels.n) // LABELS_IN_A_BIN))
        # A level belongs to the bin that contains the middle of its mass.
        middle = np.cumsum(levels.total) - levels.total / 2
        label = np.minimum((middle / levels.n * bins).astype(np.int64), bins - 1)
        starts = np.flatnonzero(np.diff(label, prepend=-1))
        right = np.add.reduceat(levels.right, starts) + 0.5
        total = np.add.reduceat(levels.total, starts) + 1.0
        blocks = pool(right.tolist(), total.tolist())
        self.edges_ = tuple(float(levels.scores[starts[block.end]]) for block in blocks[:-1])
        self.values_ = tuple(block.right / block.total for block in blocks)
        return self

    def predict_one(self, score: float) -> float:
        """Return the probability for one score as ``Calibrator.predict_one``, by bisection."""
        if score != score:
            raise CalibrationError("score is NaN: an unmeasured score has no confidence")
        return self.values_[bisect_right(self.edges_, score)]

    def to_dict(self) -> dict[str, Any]:
        """Return ``kind``, ``version``, the inner ``edges`` (m − 1) and the ``values`` (m) between them."""
        return {
            "kind": self.kind,
            "version": self.version,
            "edges": list(self.edges_),
            "values": list(self.values_),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` saved; raises CalibrationError as ``Calibrator.from_dict``."""
        check_header(saved, cls.kind, cls.version)
        calibrator = cls()
        calibrator.edges_ = increasing(saved, "edges")
        calibrator.values_ = inner_probabilities(saved, "values", len(calibrator.edges_) + 1)
        return calibrator
