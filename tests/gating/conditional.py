"""A policy with conditions, and evidence for it: what several tests of conditions share."""

from __future__ import annotations

import numpy as np

from calibrators.groups import GroupedCalibrator
from gating import SCORERS, Evidence, Policy
from gating.combine import Single
from gating.conditions import Conditions, Group
from gating.risk import upper_bound
from gating.types import Certificate


def evidence(score=-0.1, *, answer="Paris", context=None, closed=None):
    return Evidence(answer, token_logprobs=[score], closed_book=closed, context=context)


def conditions(**groups):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400)
    names = ["none", "context"] * 200
    right = rng.random(400) < np.where(np.array(names) == "none", 0.8, 0.2)
    fitted = GroupedCalibrator().fit(scores, right.astype(float), names)
    return Conditions("context", fitted, groups or {"none": Group(0.6, n=200), "context": Group(0.9, n=200)})


def certificate():
    return Certificate(0.1, 0.1, 3, 120, 200, upper_bound(3, 120, 0.1), splits={"certify": 200})


def policy(made=None, **changes):
    made = made or conditions()
    values = {"threshold": 0.6, "fingerprint": {"model": "m"}, "conditions": made, **changes}
    return Policy("rag", Single(SCORERS["mean_logprob"]), made.calibrator.global_, **values)
