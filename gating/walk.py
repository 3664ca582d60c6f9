"""The split walk: find the largest certified coverage without a correction for the number of thresholds.

The method is fixed-sequence testing (Maurer, Hothorn & Lehmacher 1995; for risks of predictors: Angelopoulos,
Bates, Candès, Jordan & Lei 2021, "Learn then Test", section 3). Hypotheses that are tested in an order fixed
beforehand need no correction, provided that the procedure ends at the first one that is not rejected. The order
is towards more coverage, from the start at which the pilot labels make the first test most likely to pass.

Where the pilot gives it a chance, a twentieth of delta goes to a test of "answer everything" first, and the walk
has the rest (Bonferroni). Without it, an unlucky pilot could cost an easy route coverage although it needs no
gate.

Validity. The grid and the start depend on the pilot labels and on scores, never on a certification label. Given
the scores, the certification labels are independent, and P(errors <= k_max) <= delta at every threshold above
which the expected risk of the certification scores exceeds the target (Hoeffding 1956, theorem 4). At a
threshold fixed in advance, the same holds for the risk in the population. The choices use only the order of the
certification scores and the number above each threshold. `tests/benchmarks/RISK.md` measures false certificates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calibrators.platt import PlattCalibrator
from gating.risk import check_level, k_max, lower_tails, row_blocks, upper_bound
from gating.threshold import Labelled, candidate_thresholds, checked_scores
from gating.types import Certificate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

#: Weight, in labels, of Platt's model against the pilot's own counts. The counts correct the model where the risk
#: is not monotone in the score. Between 10 and 40 the measured coverage changes by about a hundredth.
PSEUDO_LABELS = 20.0
#: Fewest thresholds of a grid. At 300 to 1,000 labels 50 thresholds lose coverage, and 200 gain less than a
#: hundredth. From 10⁴ labels on, the grid grows with √n.
GRID_SIZE = 100
#: Share of delta for the first test, "answer everything".
EVERYTHING_SHARE = 0.05
#: Least probability, under the pilot's model, with which that test must pass to be made. It costs less than a
#: hundredth of coverage where it fails.
WORTH_A_TEST = 0.01
#: Distance that the model's risks keep from 0 and 1, where a Beta distribution is undefined.
_LEAST_RISK = 1e-6


class ThresholdChoice(NamedTuple):
    """A threshold on the score and its certificate; both None where no threshold is certified."""

    threshold: float | None
    certificate: Certificate | None


NOTHING = ThresholdChoice(None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The input of a rule: ``thresholds`` (m,) in order of growing coverage, and the counts at each.

    ``errors`` and ``answered`` (m,) are counts of certification labels; ``every_score`` (n,) are all scores,
    labelled or not.
    """

    pilot: Labelled
    certify: Labelled
    every_score: Floats
    thresholds: Floats
    errors: Counts
    answered: Counts
    target_risk: float
    delta: float

    @classmethod
    def of(
        cls,
        pilot_scores: ArrayLike,
        pilot_correct: ArrayLike,
        scores: ArrayLike,
        correct: ArrayLike,
        target_risk: float,
        delta: float,
        traffic_scores: ArrayLike | None,
        grid_size: int | None = None,
    ) -> Problem:
        """Check the input and compute the grid of thresholds; the arguments are those of ``split_walk``."""
        check_level(target_risk, "target risk")
        check_level(delta, "delta")
        pilot = Labelled.of(pilot_scores, pilot_correct, "pilot")
        certify = Labelled.of(scores, correct, "certification")
        traffic = checked_scores(() if traffic_scores is None else traffic_scores, "traffic")
        every_score = np.sort(np.concatenate([pilot.scores, certify.scores, traffic]))
        steps = grid_size or max(GRID_SIZE, math.isqrt(len(certify)))
        thresholds = candidate_thresholds(every_score, steps)
        errors, answered = certify.above(thresholds)
        return cls(pilot, certify, every_score, thresholds, errors, answered, target_risk, delta)

    def select(
        self, place: int | None, method: str, *, target_risk: float | None = None, level: float | None = None
    ) -> ThresholdChoice:
        """Return the threshold at index ``place`` with its certificate, or nothing for None.

        The threshold must have passed its test at ``target_risk`` (default: the problem's). The bound is the
        exact bound of its counts at ``level`` (default: delta). It does not account for the choice among
        thresholds; the statement that holds with probability 1 - delta is the target.
        """
        if place is None:
            return NOTHING
        target = self.target_risk if target_risk is None else target_risk
        errors, answered = int(self.errors[place]), int(self.answered[place])
        certificate = Certificate(
            target_risk=target,
            delta=self.delta,
            errors=errors,
            answered=answered,
            total=len(self.certify),
            # The test P(Bin(n, α) <= k) <= δ passed, so α is a bound; the bisection may exceed it by one bit.
            bound=min(upper_bound(errors, answered, level or self.delta), target),
            method=method,
            splits={"pilot": len(self.pilot), "certify": len(self.certify)},
        )
        return ThresholdChoice(float(self.thresholds[place]), certificate)


@dataclass(frozen=True, slots=True)
class WalkStart:
    """The pilot's choices: where the walk starts and how delta is divided.

    ``everything`` is the level of the test of all answers (0: no such test); ``start`` is the index of the
    walk's first threshold (None: no threshold can pass); ``level`` is the walk's level. The levels sum to delta.
    """

    everything: float
    start: int | None
    level: float

    @classmethod
    def of(cls, problem: Problem) -> WalkStart:
        """Choose from pilot labels and scores alone."""
        if len(problem.pilot) == 0 or not problem.thresholds.size:
            return cls(0.0, None, problem.delta)
        wrong, right = risk_posterior(problem, problem.pilot)
        everything = EVERYTHING_SHARE * problem.delta
        last = problem.answered[-1:]
        allowed = k_max(last, problem.target_risk, everything)
        if passing_probability(last, allowed, wrong[-1:], right[-1:])[0] < WORTH_A_TEST:
            everything = 0.0
        level = problem.delta - everything
        allowed = k_max(problem.answered, problem.target_risk, level)
        if not (allowed >= 0).any():  # too few labels for any threshold to pass
            return cls(everything, None, level)
        start = int(np.argmax(passing_probability(problem.answered, allowed, wrong, right)))
        return cls(everything, start, level)


def split_walk(
    pilot_scores: ArrayLike,
    pilot_correct: ArrayLike,
    scores: ArrayLike,
    correct: ArrayLike,
    target_risk: float = 0.1,
    delta: float = 0.1,
    traffic_scores: ArrayLike | None = None,
) -> ThresholdChoice:
    """Return the threshold with most coverage at which ``risk <= target_risk`` is certified at ``1 - delta``.

    ``pilot_scores`` and ``pilot_correct`` (m,) choose where the walk starts; ``scores`` and ``correct`` (n,),
    drawn independently of them, certify. Scores are on any scale (higher = more confident), ±inf allowed;
    labels are 0 or 1. ``traffic_scores`` (any number) are further scores without labels, for the grid. The
    result is (None, None) where no threshold passes.

    Raises GatingError on NaN, labels other than 0 and 1, unequal lengths, or a level outside (0, 1).
    """
    return choose(
        Problem.of(pilot_scores, pilot_correct, scores, correct, target_risk, delta, traffic_scores)
    )


def choose(problem: Problem) -> ThresholdChoice:
    """Run the split walk on ``problem``."""
    begin = WalkStart.of(problem)
    if begin.everything:
        allowed = k_max(problem.answered[-1:], problem.target_risk, begin.everything)
        if problem.errors[-1] <= allowed[0]:
            return problem.select(problem.errors.size - 1, "split_walk")
    allowed = k_max(problem.answered, problem.target_risk, begin.level)
    return problem.select(walk(problem.errors, allowed, begin.start), "split_walk")


def walk(errors: Counts, allowed: Counts, start: int | None) -> int | None:
    """Return the last of the m indices from ``start`` on that passes before the first failure, or None."""
    if start is None:
        return None
    failures = np.flatnonzero(errors[start:] > allowed[start:])
    last = start + (int(failures[0]) if failures.size else errors.size - start) - 1
    return last if last >= start else None


def risk_posterior(problem: Problem, labelled: Labelled) -> tuple[Floats, Floats]:
    """Return the parameters (m,), (m,) of the Beta posterior of the risk above each threshold, given these labels.

    The prior is Platt's model averaged over all scores above the threshold, with the weight PSEUDO_LABELS.
    """
    model = PlattCalibrator().fit(labelled.scores, labelled.correct)
    expected_wrong = np.concatenate([[0.0], np.cumsum(1.0 - model.predict(problem.every_score))])
    first = np.searchsorted(problem.every_score, problem.thresholds, side="left")
    risk = (expected_wrong[-1] - expected_wrong[first]) / (problem.every_score.size - first)
    risk = np.clip(risk, _LEAST_RISK, 1 - _LEAST_RISK)
    errors, answered = labelled.above(problem.thresholds)
    return PSEUDO_LABELS * risk + errors, PSEUDO_LABELS * (1 - risk) + (answered - errors)


def passing_probability(answered: Counts, allowed: Counts, wrong: Floats, right: Floats) -> Floats:
    """Return P(errors <= allowed) (m,) among ``answered`` labels whose risk is Beta(wrong, right): beta-binomial."""
    passing = np.zeros(answered.size)
    for rows in row_blocks(allowed):
        n = answered[rows, None].astype(np.float64)
        k = np.arange(max(0, int(allowed[rows].max())), dtype=np.float64)
        a, b = wrong[rows, None], right[rows, None]
        with np.errstate(divide="ignore"):  # no term beyond k = n: log 0 = -inf is its weight
            ratios = np.log(np.maximum(n - k, 0) * (a + k) / ((k + 1) * (np.maximum(n - k - 1, 0) + b)))
        tails = lower_tails(_log_no_error(answered[rows], wrong[rows], right[rows]), ratios)
        chosen = np.take_along_axis(tails, np.maximum(allowed[rows], 0)[:, None], axis=1)[:, 0]
        passing[rows] = np.where(allowed[rows] >= 0, chosen, 0.0)
    return passing


def _log_no_error(answered: Counts, wrong: Floats, right: Floats) -> Floats:
    """Return the logarithm (m,) of the beta-binomial probability of no error."""
    return np.array(
        [
            math.lgamma(n + b) - math.lgamma(b) + math.lgamma(a + b) - math.lgamma(n + a + b)
            for n, a, b in zip(answered.tolist(), wrong.tolist(), right.tolist(), strict=True)
        ]
    )
