"""Gating turns the evidence about an answer into a decision: scores, confidence, thresholds and certificates.

The package needs numpy alone. It performs no input or output, reads no clock, and takes every random generator
as an argument.
"""

from __future__ import annotations

from gating.drift import (
    ObservedRisk,
    RiskWatch,
    kolmogorov_smirnov,
    observed_risk,
    population_stability,
    tightened,
)
from gating.gate import Gate
from gating.policy import Policy
from gating.scorers import SCORERS
from gating.types import Certificate, Decision, Evidence, GatingError, RiskEstimate, Unmeasured
from gating.walk import split_walk

__all__ = [
    "SCORERS",
    "Certificate",
    "Decision",
    "Evidence",
    "Gate",
    "GatingError",
    "ObservedRisk",
    "Policy",
    "RiskEstimate",
    "RiskWatch",
    "Unmeasured",
    "kolmogorov_smirnov",
    "observed_risk",
    "population_stability",
    "split_walk",
    "tightened",
]
