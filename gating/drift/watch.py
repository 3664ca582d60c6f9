"""The risk watch: an anytime-valid alarm on audit labels, which tests "risk <= target" by betting.

Each label multiplies the wealth of a bet by 1 + λ(err − α). While the risk is at most α, no bet has a positive
expected gain, so the wealth averaged over several λ ever reaches 1/δ with probability <= δ (Ville 1939; Shafer
2021, "Testing by betting"; Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by
betting"). A small λ detects a small rise of the risk, a large λ detects a large rise quickly.

On a route that has been good for long, the wealth is nearly lost when the risk rises. Therefore only half of the
stake is invested at the first label, and the rest in small parts before each further label. Each part is a
separate bet from then on, and the mean of the bets is still an e-process: this is the mixture over the time of
the change of Shin, Ramdas & Rinaldo 2024, "E-detectors", with weights that sum to one, so that the probability of
a false alarm stays <= δ for ever.

Assumptions. The labels are of served answers that were drawn at random, and whether an answer is labelled does
not depend on how likely it is to be wrong. Labels in the order of the draw satisfy this. Labelling the least
confident answers first does not, and neither does user feedback; such labels count only where the whole sample is
labelled, or with their propensities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gating.risk import check_level
from gating.saved import Saved
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: The bets λ. A λ with λα >= 1, whose wealth one right answer would end, is left out.
BETS = (0.5, 1.0, 2.0, 4.0)


def bets(target_risk: float) -> tuple[float, ...]:
    """Return the λ of BETS with λα < 1 at ``target_risk`` α in (0, 1); there is always at least one."""
    check_level(target_risk, "target risk")
    return tuple(bet for bet in BETS if bet * target_risk < 1.0)


def held_back(labels: ArrayLike) -> Floats:
    """Return the share of the stake not yet invested after ``labels`` labels n: 1, 1/2, then ½ ln 2 / ln(n + 1).

    Few priors that sum to one fall more slowly: a change after a thousand labels costs 11 nats of evidence. The
    first half detects a risk that was too high from the start.
    """
    count = np.asarray(labels, dtype=np.float64)
    late = 0.5 * math.log(2.0) / np.log(np.maximum(count, 1.0) + 1.0)
    return np.where(count < 1.0, 1.0, late)


@dataclass(frozen=True, slots=True)
class RiskWatch:
    """The state of the e-process of one route and policy; ``add`` returns the next state.

    ``labels`` served answers are labelled, ``errors`` of them wrong. ``log_wealth`` (n_bets,) is the natural
    logarithm of each bet's wealth, empty before the first label. ``peak`` is the highest ``log_e`` so far.
    """

    target_risk: float
    delta: float = 0.1
    labels: int = 0
    errors: int = 0
    log_wealth: tuple[float, ...] = ()
    peak: float = 0.0

    def __post_init__(self) -> None:
        """Raise GatingError on levels outside (0, 1), inconsistent counts and wealth that is not finite."""
        check_level(self.delta, "delta")
        wanted = len(bets(self.target_risk)) if self.labels else 0
        if not 0 <= self.errors <= self.labels:
            raise GatingError(f"risk watch: {self.errors} errors among {self.labels} labels")
        if len(self.log_wealth) != wanted or not np.isfinite([*self.log_wealth, self.peak]).all():
            raise GatingError(
                f"risk watch: log_wealth must hold {wanted} finite numbers at this target risk after "
                f"{self.labels} labels"
            )

    @classmethod
    def of_labels(cls, target_risk: float, delta: float, wrong: Sequence[bool]) -> Self:
        """Return the state after the labels ``wrong`` (n,) of weight 1, in the order of the draw."""
        if not wrong:
            return cls(target_risk, delta)
        log_wealth = _log_wealth(np.asarray(wrong, dtype=np.float64), target_risk)
        peak = max(0.0, float(_log_e(log_wealth).max()))
        return cls(target_risk, delta, len(wrong), sum(wrong), tuple(log_wealth[-1].tolist()), peak)

    def add(self, wrong: bool, weight: float = 1.0) -> Self:
        """Return the state after one more label.

        ``weight`` in (0, 1] is the least propensity divided by the answer's, where propensities depend on the
        answer. Propensities that change only with time need no weight. Raises GatingError on another weight.
        """
        if not 0.0 < weight <= 1.0:
            raise GatingError(
                f"risk watch: weight is {weight}; it must be the least propensity divided by the answer's, in (0, 1]"
            )
        gain = weight * (wrong - self.target_risk)
        before, after = held_back([self.labels, self.labels + 1]).tolist()
        put_in = math.log(before - after)
        known = bets(self.target_risk)
        log_wealth = tuple(
            float(np.logaddexp(wealth, put_in)) + math.log1p(bet * gain)
            for wealth, bet in zip(self.log_wealth or (-math.inf,) * len(known), known, strict=True)
        )
        added = replace(self, labels=self.labels + 1, errors=self.errors + bool(wrong), log_wealth=log_wealth)
        return replace(added, peak=max(self.peak, added.log_e))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the mean wealth: the evidence that the risk is above the target, 0 at the start."""
        if not self.labels:
            return 0.0
        invested = _log_mean_exp(np.array(self.log_wealth))
        return float(np.logaddexp(invested, np.log(held_back(self.labels))))

    @property
    def alarm(self) -> bool:
        """Whether the wealth has ever reached 1/δ; the alarm stays on from then on."""
        return self.peak >= -math.log(self.delta)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that ``load`` reads."""
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
        """Read what ``to_dict`` saved; raises GatingError naming the key."""
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


def log_e_of_counts(labels: int, errors: int, target_risk: float) -> float:
    """Return the evidence, as ``RiskWatch.log_e``, of counts whose order is unknown.

    The whole stake is invested before the first label. The result is valid at any time, but rises slowly after a
    long time with a low risk.
    """
    if not 0 <= errors <= labels:
        raise GatingError(f"risk watch: {errors} errors among {labels} labels")
    won, lost = _log_steps(target_risk)
    return float(_log_mean_exp(errors * won + (labels - errors) * lost))


def _log_wealth(labels: Floats, target_risk: float) -> Floats:
    """Return the log wealth of each bet after each label: (…, n) -> (…, n, n_bets).

    Each part of the stake is multiplied by the factors of the labels that follow it.
    """
    won, lost = _log_steps(target_risk)
    steps = np.where(labels[..., None] == 1.0, won, lost)
    grown = np.cumsum(steps, axis=-2)
    stake = held_back(np.arange(labels.shape[-1] + 1))
    put_in = np.log(stake[:-1] - stake[1:])[:, None]
    wealth: Floats = grown + np.logaddexp.accumulate(put_in - (grown - steps), axis=-2)
    return wealth


def _log_e(log_wealth: Floats) -> Floats:
    """Return the log of the mean wealth, the uninvested stake included: (…, n, n_bets) -> (…, n)."""
    kept = np.log(held_back(np.arange(1, log_wealth.shape[-2] + 1)))
    evidence: Floats = np.logaddexp(_log_mean_exp(log_wealth), kept)
    return evidence


def _log_steps(target_risk: float) -> tuple[Floats, Floats]:
    """Return what a wrong and a right answer add to the log wealth of each bet (n_bets,), (n_bets,)."""
    bet = np.array(bets(target_risk))
    return np.log1p(bet * (1.0 - target_risk)), np.log1p(-bet * target_risk)


def _log_mean_exp(log_wealth: Floats) -> Floats:
    """Return the logarithm of the mean wealth over the last axis."""
    most = log_wealth.max(axis=-1, keepdims=True)
    mean: Floats = most[..., 0] + np.log(np.exp(log_wealth - most).mean(axis=-1))
    return mean
