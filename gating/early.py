"""Early abstention: stop generating as soon as no further token can bring the answer to the threshold.

A logprob is never above 0, so the tokens received so far bound the score of the whole answer. Calibrators never
decrease, so the bound on the score gives a bound on the confidence. The answer is settled only where that bound
lies below the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING

from gating.combine import Single
from gating.evidence import FLOOR
from gating.gate import Uncalibrated
from gating.policy import check_threshold
from gating.scorers.logprob import TAIL
from gating.transform import TO_LOG_ODDS
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gating.gate import Gate
    from gating.policy import Policy
    from gating.scorers import Scorer

#: Relative slack on a bound, larger than the rounding of a sum of thousands of float64 in any order.
SLACK = 1e-9


@dataclass(slots=True)
class TokenStatistics:
    """Number, sum, minimum and first of the token logprobs received so far, in nats."""

    count: int = 0
    total: float = 0.0
    lowest: float = 0.0
    first: float = 0.0

    def add(self, logprob: float) -> None:
        """Add one token, clipped to [FLOOR, 0] as the scorers clip it."""
        logprob = min(max(logprob, FLOOR), 0.0)
        if self.count == 0:
            self.first = logprob
        self.count += 1
        self.total += logprob
        self.lowest = min(self.lowest, logprob)


def _mean(seen: TokenStatistics, most: int | None) -> float | None:
    """Return the mean where every further token has logprob 0 and there are as many tokens as possible."""
    return None if most is None or seen.count > most else seen.total / most


def _tail(seen: TokenStatistics, most: int | None) -> float | None:
    """Return the lowest token divided by the widest window: the mean of its window cannot be higher."""
    return None if most is None or seen.count > most else seen.lowest / ceil(most / TAIL)


#: For each scorer, the highest score that an answer can reach which begins with the tokens seen and has at most
#: ``most`` tokens (None: unknown); None where there is no bound. Other scorers are never settled early.
BOUNDS: Mapping[str, Callable[[TokenStatistics, int | None], float | None]] = MappingProxyType(
    {
        "mean_logprob": _mean,
        "min_logprob": lambda seen, _most: seen.lowest,
        "sequence_logprob": lambda seen, _most: seen.total,
        "first_token_logprob": lambda seen, _most: seen.first,
        "tail_logprob": _tail,
    }
)


@dataclass(slots=True)
class EarlyAbstention:
    """Follows one answer while it is generated; ``settled`` becomes True once no continuation can pass.

    The newest token is counted only when another one follows, since it may be the end-of-turn token, which is
    not part of the answer. Only tokens of the answer may be added. Continuations other than text (tool calls)
    are not covered; the caller must handle them.
    """

    bound: Callable[[TokenStatistics, int | None], float | None]
    passes: Callable[[float], bool]
    max_tokens: int | None = None
    settled: bool = False
    _seen: TokenStatistics = field(default_factory=TokenStatistics)
    _newest: float | None = None
    _best: float = 0.0

    def add(self, logprobs: Iterable[float]) -> None:
        """Add the logprobs (n,) of the answer's next tokens, in nats."""
        for logprob in logprobs:
            if self._newest is not None:
                self._seen.add(self._newest)
            self._newest = logprob
        best = self.bound(self._seen, self.max_tokens)
        if (
            best is not None and best < self._best
        ):  # the bound never rises: only a fall can change the verdict
            self._best = best
            self.settled = self.settled or not self.passes(best * (1.0 - SLACK))


def early_abstention(
    gate: Gate, *, max_tokens: int | None = None, threshold: float | None = None
) -> Callable[[], EarlyAbstention] | None:
    """Return a factory of ``EarlyAbstention`` for the choices of one request, or None where none could settle.

    ``max_tokens`` is the most tokens that an answer may have, None if unknown; ``threshold`` in [0, 1] is the
    request's own, as in ``Gate.decide``. A gate that serves unmeasured answers never settles early, since a
    token without a logprob may still come.
    """
    if gate.on_unmeasured == "answer":
        return None
    found = _rule(gate, threshold)
    if found is None:
        return None
    scorer, passes = found
    bound = BOUNDS.get(scorer.name)
    if bound is None or bound(TokenStatistics(), max_tokens) is None:
        return None
    return partial(EarlyAbstention, bound, passes, max_tokens)


def _rule(gate: Gate, threshold: float | None) -> tuple[Scorer, Callable[[float], bool]] | None:
    """Return the gate's single scorer and a test of whether a score may pass; None for several scorers."""
    rule = gate.rule
    if isinstance(rule, Uncalibrated):
        least = rule.score_threshold
        return None if least is None else (rule.scorer, lambda score: score >= least)
    if not isinstance(rule.combination, Single):
        return None
    scorer, to_log_odds = rule.combination.scorer, TO_LOG_ODDS[rule.combination.scorer.scale]
    limits = _limits(gate, rule, threshold)

    def passes(score: float) -> bool:
        """Return whether the score passes under any condition; the condition may be known only at the end."""
        log_odds = to_log_odds(score)
        for group, limit in limits:
            confidence = rule.confidence_at(log_odds, group)
            if isinstance(confidence, Unmeasured) or confidence >= limit:
                return True
        return False

    return scorer, passes


def _limits(gate: Gate, policy: Policy, threshold: float | None) -> list[tuple[str | None, float]]:
    """Return each condition that has a threshold, with it; a policy without conditions has the condition None."""
    own = gate.threshold if threshold is None else threshold
    if own is not None:
        check_threshold(own, "threshold")
    found = (
        {None: policy.threshold}
        if policy.conditions is None
        else {name: group.threshold for name, group in policy.conditions.groups.items()}
    )
    given = ((name, limit if own is None else own) for name, limit in found.items())
    return [(name, limit) for name, limit in given if limit is not None]
