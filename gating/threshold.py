"""Candidate thresholds, which lie between distinct scores, and labelled scores to count at them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gating.types import GatingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

#: Relative difference below which two scores are equal. A sum of logarithms taken in another order or on another
#: machine differs by some 1e-13 of its size, and such a difference must not decide.
SAME_SCORE = 1e-9


def threshold_for_cost(wrong_cost: float) -> float:
    """Return the confidence c/(1+c) above which answering pays when a wrong answer costs ``wrong_cost`` right ones.

    ``wrong_cost`` >= 0, finite; Kalai et al. (2025), "Why Language Models Hallucinate", section 4: a right
    answer scores 1, a wrong one -t/(1-t) = -c, "I don't know" 0.
    """
    if not (math.isfinite(wrong_cost) and wrong_cost >= 0):
        raise GatingError(f"wrong cost is {wrong_cost}; it must be a finite number >= 0")
    return wrong_cost / (1 + wrong_cost)


def checked_scores(scores: ArrayLike, where: str) -> Floats:
    """Return ``scores`` (n,) as float64; ±inf is allowed. Raises GatingError on NaN, naming its index."""
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise GatingError(f"{where}: scores must be numbers ({exc})") from exc
    if array.ndim != 1:
        raise GatingError(f"{where}: scores must be one list of numbers, not of shape {array.shape}")
    missing = np.isnan(array)
    if missing.any():
        raise GatingError(f"{where}: score {int(missing.argmax())} is NaN; leave unmeasured answers out")
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Scores with their labels, in ascending order of the score.

    ``scores`` (n,) float64, ``wrong_below`` (n+1,) how many of the first i answers are wrong.
    """

    scores: Floats
    wrong_below: Counts

    @classmethod
    def of(cls, scores: ArrayLike, correct: ArrayLike, where: str) -> Labelled:
        """Sort ``scores`` (n,) with ``correct`` (n,) in {0, 1}; raises GatingError naming ``where`` and the index."""
        values = checked_scores(scores, where)
        labels = checked_scores(correct, f"{where} labels")
        if labels.size != values.size:
            raise GatingError(f"{where}: {values.size} scores but {labels.size} labels; give one for each")
        strange = (labels != 0) & (labels != 1)
        if strange.any():
            place = int(strange.argmax())
            raise GatingError(
                f"{where}: label {place} is {labels[place]:g}; a label is 1 (right) or 0 (wrong)"
            )
        order = np.argsort(values, kind="stable")
        return cls(values[order], np.concatenate([[0], np.cumsum(labels[order] == 0)]).astype(np.int64))

    def __len__(self) -> int:
        return self.scores.size

    def joined(self, other: Labelled) -> Labelled:
        """Return both sets as one."""
        return Labelled.of(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.correct, other.correct]),
            "labels",
        )

    @property
    def correct(self) -> Floats:
        """(n,) 1 for a right answer, 0 for a wrong one, in ascending order of the score."""
        return 1.0 - np.diff(self.wrong_below)

    def above(self, thresholds: Floats) -> tuple[Counts, Counts]:
        """Count errors and answers (m,), (m,) among the scores >= each of ``thresholds`` (m,)."""
        first = np.searchsorted(self.scores, thresholds, side="left")
        return self.wrong_below[-1] - self.wrong_below[first], (len(self) - first).astype(np.int64)


def bounded(scores: Floats) -> Floats:
    """Return ``scores`` with ±inf replaced by finite values just outside the other scores."""
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    limit = np.finfo(np.float64).max
    with np.errstate(over="ignore"):  # scores at the end of the range overflow here; the clip below undoes it
        low, high = low - max(1.0, abs(low)), high + max(1.0, abs(high))
    return np.clip(scores, max(low, -limit), min(high, limit))


def candidate_thresholds(scores: Floats, size: int = 100) -> Floats:
    """Return at most ``size`` finite thresholds in order of growing coverage, at equal steps of it.

    Each lies midway between two neighbouring ``scores`` (n,) that differ by more than SAME_SCORE of their size,
    so that tied answers share a verdict and rounding decides nothing. The last one lies below all scores, except
    that a score of -inf is never answered. The result is empty where no score can be answered.
    """
    ascending = np.sort(bounded(scores))
    if not ascending.size:
        return ascending
    below, above = ascending[:-1], ascending[1:]
    # Halves are subtracted, because the difference of two doubles may overflow.
    differ = above / 2 - below / 2 > SAME_SCORE / 2 * np.maximum(np.abs(above), np.abs(below))
    firsts = np.flatnonzero(np.concatenate([[True], differ]))
    answered = np.ceil(ascending.size * np.arange(1, size + 1) / size).astype(np.int64)
    places = np.searchsorted(firsts, ascending.size - answered, side="right") - 1
    firsts = firsts[np.unique(places)[::-1]]
    beneath = np.concatenate([bounded(np.array([-np.inf, ascending[0]]))[:1], ascending])[firsts]
    answerable = np.sort(scores)[firsts] > -np.inf
    return (beneath / 2 + ascending[firsts] / 2)[answerable]
