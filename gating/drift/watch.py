"""An alarm on labels that come one by one, valid whenever it is looked at: a bet against "risk <= target".

Each label multiplies a gambler's wealth by 1 + λ(err − α). While the expected risk is at most α no bet is
expected to win, so that the wealth, averaged over several λ, reaches 1/δ at any time at all with probability
<= δ (Ville 1939; Shafer 2021, "Testing by betting"; Waudby-Smith & Ramdas 2024, "Estimating means of bounded
random variables by betting"). A small λ finds a small rise, a large one a large rise soon.

What it rests on. The labels are of served answers that were drawn at random, and which of them are labelled
does not depend on how likely they are to be wrong. Labels in the order of the draw keep to that; "the least
confident first" does not, and neither does volunteered feedback: of either only a sample that is labelled
whole, or labels with their propensities, may be counted. Fixed λ make the order itself of no account: the
wealth is a function of the counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gating.risk import check_level
from gating.saved import Saved
from gating.threshold import checked_scores
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: The bets λ. One that a right answer would ruin, λα >= 1, is left out.
BETS = (0.5, 1.0, 2.0, 4.0)


def bets(target_risk: float) -> tuple[float, ...]:
    """The λ of BETS that are safe at ``target_risk`` in (0, 1): the first always is."""
    check_level(target_risk, "target risk")
    return tuple(bet for bet in BETS if bet * target_risk < 1.0)


@dataclass(frozen=True, slots=True)
class RiskWatch:
    """The e-process of one route and policy; ``add`` gives the next one.

    ``labels`` served answers are labelled, ``errors`` of them wrong; ``log_wealth`` (n_bets,) is the natural
    logarithm of each bet's wealth, empty before the first label; ``peak`` the highest ``log_e`` so far.
    """

    target_risk: float
    delta: float = 0.1
    labels: int = 0
    errors: int = 0
    log_wealth: tuple[float, ...] = ()
    peak: float = 0.0

    def __post_init__(self) -> None:
        """Refuse levels outside (0, 1), counts that do not nest and wealth that is none."""
        check_level(self.delta, "delta")
        known = bets(self.target_risk)
        if not 0 <= self.errors <= self.labels:
            raise GatingError(f"risk watch: errors {self.errors} of {self.labels} labels do not nest")
        if not self.log_wealth:
            object.__setattr__(self, "log_wealth", (0.0,) * len(known))
        if len(self.log_wealth) != len(known) or not np.isfinite([*self.log_wealth, self.peak]).all():
            raise GatingError(
                f"risk watch: log_wealth must hold {len(known)} finite numbers at this target risk"
            )

    @classmethod
    def of_counts(cls, target_risk: float, delta: float, labels: int, errors: int, peak: float = 0.0) -> Self:
        """The watch after so many labels of weight 1, exactly, whatever their order.

        A store that many replicas write keeps the two counts, and ``peak`` as the highest of those seen.
        """
        won, lost = _log_steps(target_risk)
        log_wealth = errors * won + (labels - errors) * lost
        now = cls(target_risk, delta, labels, errors, tuple(log_wealth.tolist()))
        return replace(now, peak=max(peak, now.log_e))

    def add(self, wrong: bool, weight: float = 1.0) -> Self:
        """The watch after one more label.

        ``weight`` in (0, 1] where answers were drawn with unequal propensities that may depend on the answer:
        the least propensity divided by its own. A share that only changes with time needs none. Raises
        GatingError on another weight.
        """
        if not 0.0 < weight <= 1.0:
            raise GatingError(
                f"risk watch: weight is {weight}; it is the least propensity divided by its own"
            )
        gain = weight * (wrong - self.target_risk)
        log_wealth = tuple(
            wealth + math.log1p(bet * gain)
            for wealth, bet in zip(self.log_wealth, bets(self.target_risk), strict=True)
        )
        after = replace(self, labels=self.labels + 1, errors=self.errors + bool(wrong), log_wealth=log_wealth)
        return replace(after, peak=max(self.peak, after.log_e))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the mean wealth: 0 at the start, the evidence that the risk is above target."""
        return float(_log_mean_exp(np.array(self.log_wealth)[None, :])[0])

    @property
    def alarm(self) -> bool:
        """Whether the wealth has ever reached 1/δ; it holds from then on."""
        return self.peak >= -math.log(self.delta)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for ``load``."""
        return {
            "target_risk": self.target_risk,
            "delta": self.delta,
            "labels": self.labels,
            "errors": self.errors,
            "log_wealth": list(self.log_wealth),
            "peak": self.peak,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave; raises GatingError, naming the key."""
        state = Saved(saved, "risk_watch")
        wealth = state.get("log_wealth")
        if not isinstance(wealth, list) or not all(isinstance(each, int | float) for each in wealth):
            raise state.wrong("log_wealth", "a list of numbers")
        return cls(
            target_risk=state.number("target_risk"),
            delta=state.number("delta"),
            labels=state.count("labels"),
            errors=state.count("errors"),
            log_wealth=tuple(map(float, wealth)),
            peak=state.number("peak"),
        )


def log_e_values(wrong: ArrayLike, target_risk: float) -> Floats:
    """``RiskWatch.log_e`` after each of n labels: ``wrong`` (n,) or (runs, n) in {0, 1} -> the same shape."""
    labels = np.asarray(wrong, dtype=np.float64)
    checked_scores(labels.ravel(), "audit labels")
    if ((labels != 0) & (labels != 1)).any():
        raise GatingError("audit labels: a label is 1 (wrong) or 0 (right)")
    won, lost = _log_steps(target_risk)
    errors = np.cumsum(labels, axis=-1)[..., None]
    count = np.arange(1, labels.shape[-1] + 1)[:, None]
    return _log_mean_exp(errors * won + (count - errors) * lost)


def _log_steps(target_risk: float) -> tuple[Floats, Floats]:
    """What a wrong and a right answer add to each bet's logarithm (n_bets,)."""
    bet = np.array(bets(target_risk))
    return np.log1p(bet * (1.0 - target_risk)), np.log1p(-bet * target_risk)


def _log_mean_exp(log_wealth: Floats) -> Floats:
    """Logarithm of the mean wealth over the last axis."""
    most = log_wealth.max(axis=-1, keepdims=True)
    mean: Floats = most[..., 0] + np.log(np.exp(log_wealth - most).mean(axis=-1))
    return mean
