"""A threshold that adapts to the errors among served answers (Gibbs & Candès 2021)."""

from __future__ import annotations

from gating.policy import check_threshold
from gating.risk import check_level
from gating.types import GatingError

#: The step size η: where the risk rises by 0.1, the threshold rises by 0.1 in some twenty labels.
STEP = 0.05


def tightened(
    threshold: float, wrong: bool, *, target_risk: float, certified: float, step: float = STEP
) -> float:
    """Return the threshold in [``certified``, 1] after one more label of a served answer: τ + η(err − α), clipped.

    ``threshold`` is the present one, ``certified`` the policy's, which is the lowest allowed; ``step`` is η in
    (0, 1]. Labels of withheld answers do not move the threshold. At 1 almost no answer is served, so almost no
    label can lower the threshold again; a new policy is needed.

    Over T labels the share of wrong ones is at most α + (1 − certified + η) / (ηT) for any sequence of answers,
    if no answer is served at threshold 1 and each label is counted before the next answer is served (Gibbs &
    Candès 2021, "Adaptive Conformal Inference Under Distribution Shift", proposition 4.1; one-sided because of
    the lower limit). This bounds the long-run share; it is not a certificate. Raises GatingError on numbers out
    of range.
    """
    check_level(target_risk, "target risk")
    check_threshold(threshold, "threshold")
    check_threshold(certified, "certified threshold")
    if not 0.0 < step <= 1.0:
        raise GatingError(f"step is {step}; it must lie in (0, 1]")
    return min(max(threshold + step * (wrong - target_risk), certified), 1.0)
