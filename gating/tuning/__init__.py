"""Tuning: from graded answers to a policy with a threshold, and figures on answers that were not fitted on."""

from gating.tuning.figures import Figures, HeldOut, ScorerFigures
from gating.tuning.goals import FixedThreshold, Goal, TargetRisk, WrongCost
from gating.tuning.graded import ABSTAINED, RIGHT, WRONG, Collector, Graded
from gating.tuning.scored import ScoredAnswers, score_answers
from gating.tuning.tune import Provenance, Tuned, tune

__all__ = [
    "ABSTAINED",
    "RIGHT",
    "WRONG",
    "Collector",
    "Figures",
    "FixedThreshold",
    "Goal",
    "Graded",
    "HeldOut",
    "Provenance",
    "ScoredAnswers",
    "ScorerFigures",
    "TargetRisk",
    "Tuned",
    "WrongCost",
    "score_answers",
    "tune",
]
