"""The split walk: the largest coverage whose risk is certified, with no loss for the thresholds it looks at.

Fixed-sequence testing (Maurer, Hothorn & Lehmacher 1995; for risks of predictors: Angelopoulos, Bates,
Candès, Jordan & Lei 2021, "Learn then Test", section 3): hypotheses that are tested in an order fixed
beforehand need no correction as long as the first that cannot be rejected ends the procedure. The order
here is towards more coverage, from a start that the pilot labels choose where the first test is likeliest
to pass.

Where the pilot gives it a chance, a twentieth of delta goes to a test of "answer everything" beforehand, and the
walk has the rest (Bonferroni): a pilot that shows the errors of a good model in the wrong places leads the walk
astray, and would cost an easy route answers that need no gate.

What the guarantee rests on. Grid and start see the pilot labels and scores, never a certification label.
Given the scores, those labels are independent and P(errors <= k_max) <= delta at every threshold above
whose certification scores the expected risk exceeds the target (Hoeffding 1956, theorem 4); at a threshold
fixed in advance the same holds of the risk in the population. Of the certification scores the choices use
only their order and how many lie above each threshold; `tests/benchmarks/RISK.md` measures the whole.
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

#: Weight of the smooth model beside the pilot's own counts, in labels. Without the counts a score whose risk
#: is not monotone misleads the model; far more weight than this brings that back, far less costs coverage
#: elsewhere (between 10 and 40 the coverage moves by about a hundredth).
PSEUDO_LABELS = 20.0
#: Fewest thresholds of a grid: at 300 to 1,000 labels 50 lose coverage, 200 gain less than a hundredth. More
#: than 10⁴ labels tell finer steps apart, of 1/√n.
GRID_SIZE = 100
#: Of delta, what "answer everything" is tested at first, where the pilot gives that so much of a chance. It
#: costs less than a hundredth of coverage where the chance is bad, and nothing where there is none.
EVERYTHING_SHARE = 0.05
WORTH_A_TEST = 0.01
#: The model's risks are kept this far from 0 and 1, where a Beta distribution is none.
_LEAST_RISK = 1e-6


class ThresholdChoice(NamedTuple):
    """A threshold on the score and its certificate; None where the data carry none."""

    threshold: float | None
    certificate: Certificate | None


NOTHING = ThresholdChoice(None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What a rule may look at: ``thresholds`` (m,) in order of growing coverage and the counts at each.

    ``errors`` and ``answered`` (m,) are the certification labels' counts; ``every_score`` (n,) all scores,
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
        """Check the input and lay the grid; the arguments are those of ``split_walk``."""
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
        """The threshold at ``place`` with its certificate; None selects nothing.

        ``place`` must have passed its test at ``target_risk`` (the problem's own unless told). The bound is that
        of its counts at ``level`` (delta unless told), which no choice among places is allowed for: what holds
        at 1 - delta is the target.
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
            # The test P(Bin(n, α) <= k) <= δ passed, so α is itself a bound: the bisection's last bit is not.
            bound=min(upper_bound(errors, answered, level or self.delta), target),
            method=method,
            splits={"pilot": len(self.pilot), "certify": len(self.certify)},
        )
        return ThresholdChoice(float(self.thresholds[place]), certificate)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the pilot decides: the level ``everything`` of the test of all answers (0: none), the ``start`` of
    the walk (None: there is none) and its ``level``. The two levels add up to delta.
    """

    everything: float
    start: int | None
    level: float

    @classmethod
    def of(cls, problem: Problem) -> Plan:
        """From pilot labels and scores alone."""
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
        if not (allowed >= 0).any():  # no place can pass, whatever its labels
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
    """The threshold of most coverage with ``risk <= target_risk`` certified at ``1 - delta``: answer at it.

    ``pilot_scores`` and ``pilot_correct`` (m,) choose where to start; ``scores`` and ``correct`` (n,), drawn
    independently of them, certify. Scores are on any scale (higher = more confident), ±inf allowed; labels
    are 0 or 1. ``traffic_scores`` (any number) are further scores without labels, for the grid.
    (None, None) where nothing passes: too few labels, none at all, or too many of them wrong.

    Raises GatingError on NaN, labels other than 0 and 1, unequal lengths, or a level outside (0, 1).
    """
    return choose(
        Problem.of(pilot_scores, pilot_correct, scores, correct, target_risk, delta, traffic_scores)
    )


def choose(problem: Problem) -> ThresholdChoice:
    """The split walk on a problem that is laid out already."""
    plan = Plan.of(problem)
    if plan.everything:
        allowed = k_max(problem.answered[-1:], problem.target_risk, plan.everything)
        if problem.errors[-1] <= allowed[0]:
            return problem.select(problem.errors.size - 1, "split_walk")
    allowed = k_max(problem.answered, problem.target_risk, plan.level)
    return problem.select(walk(problem.errors, allowed, plan.start), "split_walk")


def walk(errors: Counts, allowed: Counts, start: int | None) -> int | None:
    """The last place (of m) from ``start`` on that passes before the first failure, or None."""
    if start is None:
        return None
    failures = np.flatnonzero(errors[start:] > allowed[start:])
    last = start + (int(failures[0]) if failures.size else errors.size - start) - 1
    return last if last >= start else None


def risk_posterior(problem: Problem, labelled: Labelled) -> tuple[Floats, Floats]:
    """Parameters (m,), (m,) of the Beta posterior of the risk above each threshold, given these labels.

    The prior is Platt's model, averaged over every score above the threshold, weighing PSEUDO_LABELS.
    """
    model = PlattCalibrator().fit(labelled.scores, labelled.correct)
    expected_wrong = np.concatenate([[0.0], np.cumsum(1.0 - model.predict(problem.every_score))])
    first = np.searchsorted(problem.every_score, problem.thresholds, side="left")
    risk = (expected_wrong[-1] - expected_wrong[first]) / (problem.every_score.size - first)
    risk = np.clip(risk, _LEAST_RISK, 1 - _LEAST_RISK)
    errors, answered = labelled.above(problem.thresholds)
    return PSEUDO_LABELS * risk + errors, PSEUDO_LABELS * (1 - risk) + (answered - errors)


def passing_probability(answered: Counts, allowed: Counts, wrong: Floats, right: Floats) -> Floats:
    """P(errors <= allowed) (m,) among ``answered`` labels whose risk is Beta(wrong, right): beta-binomial."""
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
    """Logarithm (m,) of the beta-binomial probability of no error at all."""
    return np.array(
        [
            math.lgamma(n + b) - math.lgamma(b) + math.lgamma(a + b) - math.lgamma(n + a + b)
            for n, a, b in zip(answered.tolist(), wrong.tolist(), right.tolist(), strict=True)
        ]
    )
