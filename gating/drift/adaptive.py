"""A threshold that follows the errors it lets through (Gibbs & Candès 2021, "Adaptive Conformal Inference")."""

from __future__ import annotations

from gating.policy import check_threshold
from gating.risk import check_level
from gating.types import GatingError

#: Of one step. A rise of the risk by 0.1 moves the threshold by 0.1 in some twenty labels.
STEP = 0.05


def tightened(
    threshold: float, wrong: bool, *, target_risk: float, certified: float, step: float = STEP
) -> float:
    """The threshold in [``certified``, 1] after one more label of a served answer: τ + η(err − α), clipped.

    ``threshold`` is the one before, ``certified`` the policy's own, below which no step leads; ``step`` η in
    (0, 1]. Labels of withheld answers move nothing. At 1 next to nothing goes out, so that next to no label
    brings the threshold back: that takes another policy.

    Over T labels the share of wrong ones is at most α + (1 − certified + η) / (ηT), whatever the answers do,
    if none goes out at threshold 1 and each label is counted before the next answer goes out (their
    proposition 4.1, one-sided because of the floor). That is a promise for the long run and no certificate.
    Raises GatingError on numbers out of range.
    """
    check_level(target_risk, "target risk")
    check_threshold(threshold, "threshold")
    check_threshold(certified, "certified threshold")
    if not 0.0 < step <= 1.0:
        raise GatingError(f"step is {step}; it must lie in (0, 1]")
    return min(max(threshold + step * (wrong - target_risk), certified), 1.0)
