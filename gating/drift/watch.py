"""An alarm on labels that come one by one, valid whenever it is looked at: a bet against "risk <= target".

Each label multiplies a gambler's wealth by 1 + λ(err − α). While the expected risk is at most α no bet is
expected to win, so that the wealth, averaged over several λ, reaches 1/δ at any time at all with probability
<= δ (Ville 1939; Shafer 2021, "Testing by betting"; Waudby-Smith & Ramdas 2024, "Estimating means of bounded
random variables by betting"). A small λ finds a small rise, a large one a large rise soon.

A route that was good for long has lost its stake when it turns bad, and would have to win all of it back. So the
gambler begins with half the stake, and puts in the rest bit by bit, before each further label: every bit is a bet
of its own from there on, and their mean is as fair as each (the mixture over the time of the change of Shin, Ramdas
& Rinaldo 2024, "E-detectors", with weights that sum to one, so that the chance of a false alarm stays <= δ for ever).

What it rests on. The labels are of served answers that were drawn at random, and which of them are labelled
does not depend on how likely they are to be wrong. Labels in the order of the draw keep to that; "the least
confident first" does not, and neither does volunteered feedback: of either only a sample that is labelled
whole, or labels with their propensities, may be counted.
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
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: The bets λ. One that a right answer would ruin, λα >= 1, is left out.
BETS = (0.5, 1.0, 2.0, 4.0)


def bets(target_risk: float) -> tuple[float, ...]:
    """The λ of BETS that are safe at ``target_risk`` in (0, 1): the first always is."""
    check_level(target_risk, "target risk")
    return tuple(bet for bet in BETS if bet * target_risk < 1.0)


def held_back(labels: ArrayLike) -> Floats:
    """The share of the stake that has not been put in after so many labels: 1, 1/2, then ½ ln 2 / ln(n + 1).

    No prior that sums to one falls much more slowly: a change after a thousand labels costs 11 nats, not the
    thousand labels. The first half is what a risk that was too high from the start is found with.
    """
    count = np.asarray(labels, dtype=np.float64)
    late = 0.5 * math.log(2.0) / np.log(np.maximum(count, 1.0) + 1.0)
    return np.where(count < 1.0, 1.0, late)


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
        wanted = len(bets(self.target_risk)) if self.labels else 0
        if not 0 <= self.errors <= self.labels:
            raise GatingError(f"risk watch: errors {self.errors} of {self.labels} labels do not nest")
        if len(self.log_wealth) != wanted or not np.isfinite([*self.log_wealth, self.peak]).all():
            raise GatingError(
                f"risk watch: log_wealth must hold {wanted} finite numbers at this target risk after "
                f"{self.labels} labels"
            )

    @classmethod
    def of_labels(cls, target_risk: float, delta: float, wrong: Sequence[bool]) -> Self:
        """The watch after these labels of weight 1, in the order of the draw."""
        if not wrong:
            return cls(target_risk, delta)
        log_wealth = _log_wealth(np.asarray(wrong, dtype=np.float64), target_risk)
        peak = max(0.0, float(_log_e(log_wealth).max()))
        return cls(target_risk, delta, len(wrong), sum(wrong), tuple(log_wealth[-1].tolist()), peak)

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
        """Natural logarithm of the mean wealth: 0 at the start, the evidence that the risk is above target."""
        if not self.labels:
            return 0.0
        invested = _log_mean_exp(np.array(self.log_wealth))
        return float(np.logaddexp(invested, np.log(held_back(self.labels))))

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
    """``RiskWatch.log_e`` after each of n >= 1 labels: ``wrong`` (n,) or (runs, n) in {0, 1} -> the same shape."""
    labels = np.asarray(wrong, dtype=np.float64)
    checked_scores(labels.ravel(), "audit labels")
    if ((labels != 0) & (labels != 1)).any():
        raise GatingError("audit labels: a label is 1 (wrong) or 0 (right)")
    return _log_e(_log_wealth(labels, target_risk))


def log_e_of_counts(labels: int, errors: int, target_risk: float) -> float:
    """The evidence of counts whose order nobody knows: the whole stake put in before the first of them.

    As valid at any time as ``RiskWatch.log_e``: a function of the counts alone, but slow after a good time.
    """
    if not 0 <= errors <= labels:
        raise GatingError(f"risk watch: errors {errors} of {labels} labels do not nest")
    won, lost = _log_steps(target_risk)
    return float(_log_mean_exp(errors * won + (labels - errors) * lost))


def _log_wealth(labels: Floats, target_risk: float) -> Floats:
    """Of each bet after each label: (…, n) -> (…, n, n_bets). Bits of the stake grow by the steps after them."""
    won, lost = _log_steps(target_risk)
    steps = np.where(labels[..., None] == 1.0, won, lost)
    grown = np.cumsum(steps, axis=-2)
    stake = held_back(np.arange(labels.shape[-1] + 1))
    put_in = np.log(stake[:-1] - stake[1:])[:, None]
    wealth: Floats = grown + np.logaddexp.accumulate(put_in - (grown - steps), axis=-2)
    return wealth


def _log_e(log_wealth: Floats) -> Floats:
    """(…, n, n_bets) -> (…, n)."""
    kept = np.log(held_back(np.arange(1, log_wealth.shape[-2] + 1)))
    evidence: Floats = np.logaddexp(_log_mean_exp(log_wealth), kept)
    return evidence


def _log_steps(target_risk: float) -> tuple[Floats, Floats]:
    """What a wrong and a right answer add to each bet's logarithm (n_bets,)."""
    bet = np.array(bets(target_risk))
    return np.log1p(bet * (1.0 - target_risk)), np.log1p(-bet * target_risk)


def _log_mean_exp(log_wealth: Floats) -> Floats:
    """Logarithm of the mean wealth over the last axis."""
    most = log_wealth.max(axis=-1, keepdims=True)
    mean: Floats = most[..., 0] + np.log(np.exp(log_wealth - most).mean(axis=-1))
    return mean
