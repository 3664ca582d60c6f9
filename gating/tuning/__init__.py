"""From graded answers to a policy: disjoint splits by question, a fit, a threshold, and figures unseen by both."""

from gating.tuning.figures import Figures, HeldOut, ScorerFigures
from gating.tuning.goals import FixedThreshold, Goal, TargetRisk, WrongCost
from gating.tuning.graded import ABSTAINED, RIGHT, WRONG, Collector, Graded
from gating.tuning.judged import Judged, judge
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
    "Judged",
    "Provenance",
    "ScorerFigures",
    "TargetRisk",
    "Tuned",
    "WrongCost",
    "judge",
    "tune",
]
