"""What to report where no threshold passes: the certificate that the data support, and the labels needed."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from gating.risk import check_level, upper_bound
from gating.walk import NOTHING, Problem, ThresholdChoice, WalkStart, risk_posterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def best_supported(problem: Problem) -> ThresholdChoice:
    """Return the certificate at the start of the split walk, for the risk that its labels support.

    Use it where the walk found nothing. The ``target_risk`` of the certificate is the Clopper-Pearson bound U(s)
    at the start s, at the walk's level. Trying targets until a walk passes would not be valid, and a second walk
    would cost half of delta; this bound costs nothing, for the following reason. The start depends on no
    certification label, so U(s) < R(s) has at most the level's probability. Where the risk R(s) is above the
    target, a false pass of the walk at s and a false bound are the same event. Otherwise a failed walk means
    U(s) > target >= R(s), so the bound is true, and only a later step of the walk can err, with at most the same
    probability. Together with the test of all answers, "the walk, else this bound" is false with probability
    <= delta.

    Where no number of right answers could have passed, nothing was tested, and the threshold is the one with the
    least bound that the pilot's model expects. The result is (None, None) without labels, or where all answers
    are wrong.
    """
    begin = WalkStart.of(problem)
    place = _least_expected_bound(problem) if begin.start is None else begin.start
    if place is None:
        return NOTHING
    bound = upper_bound(int(problem.errors[place]), int(problem.answered[place]), begin.level)
    if bound >= 1:
        return NOTHING
    return problem.select(place, "best_supported", target_risk=bound, level=begin.level)


def _least_expected_bound(problem: Problem) -> int | None:
    """Return the index of the threshold with the least bound if errors came out as the pilot's model expects."""
    places = np.flatnonzero(problem.answered > 0)
    if len(problem.pilot) == 0 or not places.size:
        return None
    risk = _posterior_mean(*risk_posterior(problem, problem.pilot))
    expected = np.ceil(risk * problem.answered).astype(int)
    bounds = [upper_bound(int(expected[i]), int(problem.answered[i]), problem.delta) for i in places]
    return int(places[np.argmin(bounds)])


def labels_needed(problem: Problem, power: float = 0.8) -> int | None:
    """Estimate how many certification labels would let the first test pass with probability ``power``.

    The estimate uses all labels (pilot and certification) and the normal sample size of a test of one proportion
    (Fleiss, Levin & Paik 2003, section 2.5), at the threshold that needs fewest. It may be below the number of
    labels at hand, if the draw was unlucky or the pilot misleading. It is None without labels, or where no
    threshold is expected to reach the target with any number of labels.
    """
    check_level(power, "power")
    labelled = problem.pilot.joined(problem.certify)
    if len(labelled) == 0 or not problem.thresholds.size:
        return None
    risk = _posterior_mean(*risk_posterior(problem, labelled))
    alpha = problem.target_risk
    reachable = risk < alpha
    if not reachable.any():
        return None
    first = np.searchsorted(problem.every_score, problem.thresholds, side="left")
    coverage = 1 - first / problem.every_score.size
    risk, coverage = risk[reachable], coverage[reachable]
    normal = NormalDist()
    test = normal.inv_cdf(1 - problem.delta) * math.sqrt(alpha * (1 - alpha))
    alternative = normal.inv_cdf(power) * np.sqrt(risk * (1 - risk))
    # Fewer than ln δ / ln(1-α) labels certify nothing, even if all are right.
    least = math.log(problem.delta) / math.log1p(-alpha)
    answered = np.maximum((np.maximum(test + alternative, 0) / (alpha - risk)) ** 2, least)
    return math.ceil(float((answered / coverage).min()))


def _posterior_mean(wrong: Floats, right: Floats) -> Floats:
    return wrong / (wrong + right)
