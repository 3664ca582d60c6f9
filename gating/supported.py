"""What to say where nothing passes: the certificate that the data support, the labels that would help."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from gating.risk import check_level, upper_bound
from gating.walk import NOTHING, Plan, Problem, ThresholdChoice, risk_posterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def best_supported(problem: Problem) -> ThresholdChoice:
    """The certificate at the place where the split walk starts, for whatever risk it bears out.

    Meant for a problem on which the walk found nothing; its ``target_risk`` is then the Clopper-Pearson
    bound at that one place, at the walk's own level. Trying one target after the other until a walk passes
    would not be valid, and a second walk would cost half of delta; this costs nothing. The start s depends on
    no certification label, so U(s) < R(s) has at most the level's probability. Where R(s) is above the
    target, the walk's false pass at s and this bound's failure are both that one event. Where R(s) is not, a
    failed walk means U(s) > target >= R(s), so that this bound is true, and only the walk further on can err,
    with at most the same probability. With what the test of all answers may err, "the walk, else this" is
    false with probability <= delta.

    Where no number of right answers could have passed, nothing was tested, and the place is that of the
    least bound that the pilot's model expects. (None, None) without labels, or where all answers are wrong.
    """
    plan = Plan.of(problem)
    place = _least_expected_bound(problem) if plan.start is None else plan.start
    if place is None:
        return NOTHING
    bound = upper_bound(int(problem.errors[place]), int(problem.answered[place]), plan.level)
    if bound >= 1:
        return NOTHING
    return problem.select(place, "best_supported", target_risk=bound, level=plan.level)


def _least_expected_bound(problem: Problem) -> int | None:
    """The place with the least bound if its errors came out as the pilot's model expects."""
    places = np.flatnonzero(problem.answered > 0)
    if len(problem.pilot) == 0 or not places.size:
        return None
    risk = _posterior_mean(*risk_posterior(problem, problem.pilot))
    expected = np.ceil(risk * problem.answered).astype(int)
    bounds = [upper_bound(int(expected[i]), int(problem.answered[i]), problem.delta) for i in places]
    return int(places[np.argmin(bounds)])


def labels_needed(problem: Problem, power: float = 0.8) -> int | None:
    """About how many certification labels would let the first test pass with probability ``power``.

    An estimate from all labels (pilot and certification) and the normal sample size of a test of one
    proportion (Fleiss, Levin & Paik 2003, section 2.5), at the threshold that needs fewest. It may lie below
    the number at hand: then the draw was unlucky, or the pilot misled. None where no threshold is expected to
    reach the target, however many labels there are, or without labels.
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
