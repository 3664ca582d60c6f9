"""Metrics of confidences. Undefined figures are None, never NaN; ties are grouped in every curve."""

from calibrators.metrics.bootstrap import group_bootstrap
from calibrators.metrics.calibration import ece, ece_noise_floor, reliability, smooth_ece
from calibrators.metrics.proper import BrierParts, brier, brier_decomposition, brier_skill, log_loss
from calibrators.metrics.ranking import auroc, auroc_interval
from calibrators.metrics.selective import (
    COSTS,
    TARGETS,
    RiskCoverage,
    aurc,
    coverage_at_risk,
    excess_aurc,
    prediction_rejection_ratio,
    risk_at_coverage,
    risk_coverage,
    score_at_cost,
    score_at_target,
)

__all__ = [
    "COSTS",
    "TARGETS",
    "BrierParts",
    "RiskCoverage",
    "aurc",
    "auroc",
    "auroc_interval",
    "brier",
    "brier_decomposition",
    "brier_skill",
    "coverage_at_risk",
    "ece",
    "ece_noise_floor",
    "excess_aurc",
    "group_bootstrap",
    "log_loss",
    "prediction_rejection_ratio",
    "reliability",
    "risk_at_coverage",
    "risk_coverage",
    "score_at_cost",
    "score_at_target",
    "smooth_ece",
]
