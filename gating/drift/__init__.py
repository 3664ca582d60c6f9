"""Whether what a policy promised still holds: alarms on labels, signs of drift without any, a gate that tightens.

Only the e-process on audit labels revokes a certificate. The tests on confidences say that the traffic is
another, not that the answers are worse; adaptive steps promise a long run, never a certificate.
"""

from gating.drift.adaptive import tightened
from gating.drift.observed import ObservedRisk, observed_risk
from gating.drift.shift import Shift, kolmogorov_smirnov, level_of_look, population_stability
from gating.drift.watch import RiskWatch, log_e_of_counts, log_e_values

__all__ = [
    "ObservedRisk",
    "RiskWatch",
    "Shift",
    "kolmogorov_smirnov",
    "level_of_look",
    "log_e_of_counts",
    "log_e_values",
    "observed_risk",
    "population_stability",
    "tightened",
]
