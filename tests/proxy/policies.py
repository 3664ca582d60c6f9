"""A fitted policy for tests that need one, whatever its figures are."""

from __future__ import annotations

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Policy
from gating.combine import Single
from gating.risk import upper_bound

MEAN = SCORERS["mean_logprob"]
SCORES = [-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0] * 20
POLICY = Policy(
    name="support",
    combination=Single(MEAN),
    calibrator=CALIBRATORS["platt"]().fit(SCORES, [index % 20 < 1 + 3 * (index % 7) for index in range(140)]),
    threshold=0.6,
    certificate=Certificate(0.1, 0.1, 3, 120, 200, upper_bound(3, 120, 0.1)),
    fingerprint={"model": "m", "fields": {}},
)
