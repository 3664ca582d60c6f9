"""Monitoring of a policy in use: alarms on audit labels, drift tests without labels, and adaptive thresholds.

Only the e-process on audit labels revokes a certificate. The tests on confidences show that the traffic has
changed, not that answers are worse. Adaptive thresholds control the long-run risk and give no certificate.
"""

from gating.drift.adaptive import tightened
from gating.drift.observed import ObservedRisk, observed_risk
from gating.drift.shift import Shift, kolmogorov_smirnov, level_of_look, population_stability
from gating.drift.watch import RiskWatch, log_e_of_counts

__all__ = [
    "ObservedRisk",
    "RiskWatch",
    "Shift",
    "kolmogorov_smirnov",
    "level_of_look",
    "log_e_of_counts",
    "observed_risk",
    "population_stability",
    "tightened",
]
