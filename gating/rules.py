"""Rules that choose a threshold for a target risk, by name: the split walk and the rules it is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gating.risk import k_max
from gating.walk import Problem, ThresholdChoice, choose, walk

if TYPE_CHECKING:
    from collections.abc import Callable

#: Number of starts of the multi-start fixed sequence, each tested at delta / STARTS.
STARTS = 5


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that chooses a threshold.

    ``valid``: the risk at the chosen threshold is at most the target with probability >= 1 - delta.
    ``uses_pilot``: the rule reads the pilot's labels. Other rules may certify on all labels, provided that no
    label was used to make the scores.
    """

    choose: Callable[[Problem], ThresholdChoice]
    valid: bool
    uses_pilot: bool
    citation: str


def sgr(problem: Problem) -> ThresholdChoice:
    """Choose by selection with guaranteed risk: a binary search over all n scores, each step at delta / log2 n."""
    labelled = problem.certify
    size = max(1, len(labelled))
    fine = Problem.of(
        (), (), labelled.scores, labelled.correct, problem.target_risk, problem.delta, None, grid_size=size
    )
    steps = max(1, math.ceil(math.log2(size)))
    level = problem.delta / steps
    low, high, passed = 0, fine.thresholds.size - 1, None
    for _ in range(steps):
        if low > high:
            break
        place = (low + high + 1) // 2
        if fine.errors[place] <= k_max(fine.answered[place], problem.target_risk, level):
            passed, low = place, place + 1
        else:
            high = place - 1
    return fine.select(passed, "sgr")


def bonferroni(problem: Problem) -> ThresholdChoice:
    """Test each of the m thresholds at delta / m and choose the one with most coverage among those that pass."""
    level = problem.delta / max(1, problem.thresholds.size)
    passed = np.flatnonzero(problem.errors <= k_max(problem.answered, problem.target_risk, level))
    return problem.select(int(passed[-1]) if passed.size else None, "bonferroni")


def five_starts(problem: Problem) -> ThresholdChoice:
    """Walk from five evenly spaced starts, each at delta / 5, and choose the end with most coverage."""
    level = problem.delta / STARTS
    allowed = k_max(problem.answered, problem.target_risk, level)
    starts = np.unique(np.arange(STARTS) * problem.thresholds.size // STARTS)
    ends = [end for start in starts.tolist() if (end := walk(problem.errors, allowed, start)) is not None]
    return problem.select(max(ends, default=None), "five_starts")


def naive(problem: Problem) -> ThresholdChoice:
    """Choose the most coverage whose observed risk is at most the target: an optimistic estimate."""
    passed = np.flatnonzero(
        (problem.errors <= problem.target_risk * problem.answered) & (problem.answered > 0)
    )
    return ThresholdChoice(float(problem.thresholds[passed[-1]]) if passed.size else None, None)


RULES = {
    "split_walk": Rule(
        choose, valid=True, uses_pilot=True, citation="Angelopoulos et al. 2021, Learn then Test, section 3"
    ),
    "five_starts": Rule(
        five_starts,
        valid=True,
        uses_pilot=False,
        citation="Angelopoulos et al. 2021, Learn then Test, section 3",
    ),
    "sgr": Rule(
        sgr,
        valid=True,
        uses_pilot=False,
        citation="Geifman & El-Yaniv 2017, Selective Classification for Deep Neural Networks, algorithm 1",
    ),
    "bonferroni": Rule(
        bonferroni, valid=True, uses_pilot=False, citation="Dunn 1961, Multiple Comparisons among Means"
    ),
    "naive": Rule(naive, valid=False, uses_pilot=False, citation="none: the same labels choose and estimate"),
}
