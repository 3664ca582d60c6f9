"""A policy with conditions, and evidence for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibrators.groups import GroupedCalibrator
from gating import SCORERS, Evidence, Policy
from gating.combine import Single
from gating.conditions import Conditions, Group
from gating.risk import upper_bound
from gating.types import Certificate


def evidence(
    score: float = -0.1, *, answer: str = "Paris", context: bool | None = None, closed: Evidence | None = None
) -> Evidence:
    """Return the evidence of an answer of one token."""
    return Evidence(answer, token_logprobs=[score], closed_book=closed, context=context)


def conditions(**groups: Group) -> Conditions:
    """Return conditions by context, by default with a group for each."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400)
    names = ["none", "context"] * 200
    right = rng.random(400) < np.where(np.array(names) == "none", 0.8, 0.2)
    fitted = GroupedCalibrator().fit(scores, right.astype(float), names)
    return Conditions("context", fitted, groups or {"none": Group(0.6, n=200), "context": Group(0.9, n=200)})


def certificate() -> Certificate:
    """Return a certificate of 3 errors in 120 answers."""
    return Certificate(0.1, 0.1, 3, 120, 200, upper_bound(3, 120, 0.1), splits={"certify": 200})


def policy(made: Conditions | None = None, **changes: Any) -> Policy:
    """Return a policy with conditions."""
    made = made or conditions()
    values: dict[str, Any] = {
        "threshold": 0.6,
        "fingerprint": {"model": "m", "fields": {}},
        "conditions": made,
        **changes,
    }
    return Policy("rag", Single(SCORERS["mean_logprob"]), made.calibrator.global_, **values)
