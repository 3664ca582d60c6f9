"""Metrics of selective answering: risk against coverage, and scores that penalise wrong answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrators.errors import CalibrationError
from calibrators.rows import as_confidence, as_labels, as_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: The confidence targets and the costs of a wrong answer in Kalai et al. 2025, "Why language models
#: hallucinate".
TARGETS = (0.5, 0.75, 0.9)
COSTS = (0.0, 1.0, 3.0, 9.0)


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The curve at each distinct score (k,), from the highest down: answer where ``score >= thresholds[i]``.

    ``answered`` and ``errors`` (k,) are counts; ``total`` is n.
    """

    thresholds: NDArray[np.float64]
    answered: NDArray[np.int64]
    errors: NDArray[np.int64]
    total: int

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Answered among all (k,), in (0, 1], increasing."""
        return self.answered / self.total

    @property
    def risk(self) -> NDArray[np.float64]:
        """Wrong among answered (k,), in [0, 1]."""
        return self.errors / self.answered


def risk_coverage(scores: ArrayLike, correct: ArrayLike) -> RiskCoverage | None:
    """Return the risk-coverage curve (El-Yaniv & Wiener 2010) of ``scores`` (n,) and ``correct`` (n,).

    Tied answers are answered together, as with a threshold. None where n is 0.
    """
    values = as_scores(scores)
    labels = as_labels(correct, values.size)
    if not values.size:
        return None
    distinct, level, count = np.unique(values, return_inverse=True, return_counts=True)
    wrong = np.bincount(level, 1 - labels, distinct.size).astype(np.int64)
    return RiskCoverage(distinct[::-1], np.cumsum(count[::-1]), np.cumsum(wrong[::-1]), values.size)


def aurc(scores: ArrayLike, correct: ArrayLike) -> float | None:
    """Return the mean risk over the coverages 1/n … 1, in [0, 1]; lower is better; None where n is 0.

    Geifman, Uziel & El-Yaniv 2019. ``scores`` (n,), ``correct`` (n,). Errors are spread evenly over tied answers,
    which is the mean over their orders.
    """
    curve = risk_coverage(scores, correct)
    if curve is None:
        return None
    places = np.arange(1, curve.total + 1)
    return float(np.mean(np.interp(places, [0, *curve.answered], [0, *curve.errors]) / places))


def _oracle_aurc(correct: ArrayLike) -> float | None:
    """Return the AURC of a score that ranks every right answer above every wrong one."""
    return aurc(correct, correct)


def excess_aurc(scores: ArrayLike, correct: ArrayLike) -> float | None:
    """Return AURC minus the least AURC of any order of the same answers; >= 0; None where n is 0.

    Geifman, Uziel & El-Yaniv 2019, §3 (E-AURC). ``scores`` (n,), ``correct`` (n,).
    """
    area, oracle = aurc(scores, correct), _oracle_aurc(correct)
    return None if area is None or oracle is None else max(area - oracle, 0.0)


def prediction_rejection_ratio(scores: ArrayLike, correct: ArrayLike) -> float | None:
    """Return the share of a perfect order's gain over a random one that ``scores`` (n,) reach; at most 1.

    Malinin & Gales 2021, in the form of Vashurin et al. 2025 (LM-Polygraph): (random − AURC)/(random − oracle),
    where random is the base risk. 0 is random, below 0 is worse. None where the labels ``correct`` (n,) are of
    one class.
    """
    area, oracle = aurc(scores, correct), _oracle_aurc(correct)
    if area is None or oracle is None:
        return None
    base = 1 - float(np.mean(np.asarray(correct, dtype=np.float64)))
    return (base - area) / (base - oracle) if 0 < base < 1 else None


def coverage_at_risk(scores: ArrayLike, correct: ArrayLike, risk: float) -> float | None:
    """Return the greatest coverage with an observed risk <= ``risk`` in [0, 1]; 0 where no threshold has that.

    Geifman & El-Yaniv 2017. The result is chosen on the same ``scores`` (n,) and ``correct`` (n,): an optimistic
    estimate, not a certificate. None where n is 0.
    """
    if not 0 <= risk <= 1:
        raise CalibrationError(f"risk is {risk}: a share in [0, 1] is needed")
    curve = risk_coverage(scores, correct)
    if curve is None:
        return None
    return float(curve.coverage[curve.risk <= risk].max(initial=0.0))


def risk_at_coverage(scores: ArrayLike, correct: ArrayLike, coverage: float) -> float | None:
    """Return the risk at the highest threshold that answers at least ``coverage`` in (0, 1] of all.

    Geifman & El-Yaniv 2017. ``scores`` (n,), ``correct`` (n,); None where n is 0.
    """
    if not 0 < coverage <= 1:
        raise CalibrationError(f"coverage is {coverage}: a share in (0, 1] is needed")
    curve = risk_coverage(scores, correct)
    if curve is None:
        return None
    return float(curve.risk[np.searchsorted(curve.coverage, coverage)])


def score_at_cost(confidence: ArrayLike, correct: ArrayLike, wrong_cost: float) -> float | None:
    """Return the mean score with 1 for right, −``wrong_cost`` for wrong and 0 for "I don't know"; at most 1.

    Kalai et al. 2025: an answer is given where ``confidence`` (n,) in [0, 1] is at least c/(1 + c). ``correct``
    (n,) says whether each answer is right. None where n is 0.
    """
    if not 0 <= wrong_cost < np.inf:
        raise CalibrationError(f"wrong_cost is {wrong_cost}: a finite cost of at least 0 is needed")
    return _score(confidence, correct, wrong_cost / (1 + wrong_cost), wrong_cost)


def score_at_target(confidence: ArrayLike, correct: ArrayLike, target: float) -> float | None:
    """Return ``score_at_cost`` for the wrong cost t/(1 − t), which answers where ``confidence`` (n,) >= ``target`` t.

    Kalai et al. 2025 ("answer only if you are > t confident"); t in [0, 1). None where n is 0.
    """
    if not 0 <= target < 1:
        raise CalibrationError(f"target is {target}: a confidence in [0, 1) is needed")
    return _score(confidence, correct, target, target / (1 - target))


def _score(confidence: ArrayLike, correct: ArrayLike, threshold: float, wrong_cost: float) -> float | None:
    p = as_confidence(confidence)
    labels = as_labels(correct, p.size)
    if not p.size:
        return None
    return float(np.mean(np.where(p >= threshold, np.where(labels == 1, 1.0, -wrong_cost), 0.0)))
