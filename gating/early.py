"""Can later tokens still change an abstention? Where none can, the rest need not be paid for.

A logprob is never above 0, so what has come bounds what the whole answer can score. Through a calibrator,
which never decreases, the bound on the score bounds the confidence. Only where that lies below the threshold
is the answer settled; what cannot be proved is not.
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

#: The share by which a bound is raised: sums of thousands of float64 differ by less with the order of adding.
SLACK = 1e-9


@dataclass(slots=True)
class Tally:
    """What the bounds need of the tokens so far: their number, sum, lowest and first, in nats."""

    count: int = 0
    total: float = 0.0
    lowest: float = 0.0
    first: float = 0.0

    def add(self, logprob: float) -> None:
        """One token more, clipped as the scorers clip it."""
        logprob = min(max(logprob, FLOOR), 0.0)
        if self.count == 0:
            self.first = logprob
        self.count += 1
        self.total += logprob
        self.lowest = min(self.lowest, logprob)


def _mean(tally: Tally, most: int | None) -> float | None:
    """All that may still come is certain: the sum stays, and the number is the greatest there can be."""
    return None if most is None or tally.count > most else tally.total / most


def _tail(tally: Tally, most: int | None) -> float | None:
    """The window that holds the lowest token sums to no more than it, and is no wider than the widest."""
    return None if most is None or tally.count > most else tally.lowest / ceil(most / TAIL)


#: The highest score that an answer can reach which begins with the tally and has ``most`` tokens at the most
#: (None: nobody knows); None where nothing bounds it. A scorer that is not here is never settled early.
BOUNDS: Mapping[str, Callable[[Tally, int | None], float | None]] = MappingProxyType(
    {
        "mean_logprob": _mean,
        "min_logprob": lambda tally, _most: tally.lowest,
        "sequence_logprob": lambda tally, _most: tally.total,
        "first_token_logprob": lambda tally, _most: tally.first,
        "tail_logprob": _tail,
    }
)


@dataclass(slots=True)
class Watch:
    """One answer as it grows; ``settled`` turns True when no continuation can be answered, and stays so.

    The newest token is held back until another follows, since it may be the end-of-turn token, which is no
    part of the answer. Only the answer's own tokens may be added; and a continuation that is not text (a
    tool call) is for the caller to consider.
    """

    bound: Callable[[Tally, int | None], float | None]
    passes: Callable[[float], bool]
    max_tokens: int | None = None
    settled: bool = False
    _tally: Tally = field(default_factory=Tally)
    _newest: float | None = None
    _best: float = 0.0

    def add(self, logprobs: Iterable[float]) -> None:
        """The answer's next tokens (n,), in nats."""
        for logprob in logprobs:
            if self._newest is not None:
                self._tally.add(self._newest)
            self._newest = logprob
        best = self.bound(self._tally, self.max_tokens)
        if best is not None and best < self._best:  # it never rises, and where it did not fall nothing is new
            self._best = best
            self.settled = self.settled or not self.passes(best * (1.0 - SLACK))


def watch(
    gate: Gate, *, max_tokens: int | None = None, threshold: float | None = None
) -> Callable[[], Watch] | None:
    """A maker of watches for the answers to one request, or None where nothing could ever be settled.

    ``max_tokens`` the most tokens that an answer may have, None if unknown; ``threshold`` the request's own,
    as in ``Gate.decide``. Where unmeasured answers go out nothing is settled, since a token without a logprob
    may come.
    """
    if gate.on_unmeasured == "answer":
        return None
    found = _rule(gate, threshold)
    if found is None:
        return None
    scorer, passes = found
    bound = BOUNDS.get(scorer.name)
    if bound is None or bound(Tally(), max_tokens) is None:
        return None
    return partial(Watch, bound, passes, max_tokens)


def _rule(gate: Gate, threshold: float | None) -> tuple[Scorer, Callable[[float], bool]] | None:
    """The gate's one scorer, and whether an answer with a given score of it may pass."""
    rule = gate.rule
    if isinstance(rule, Uncalibrated):
        least = rule.score_threshold
        return None if least is None else (rule.scorer, lambda score: score >= least)
    if not isinstance(rule.combination, Single):
        return None
    scorer, to_log_odds = rule.combination.scorer, TO_LOG_ODDS[rule.combination.scorer.scale]
    limits = _limits(gate, rule, threshold)

    def passes(score: float) -> bool:
        """Under any of the conditions: which one it will be may not be known before the end."""
        log_odds = to_log_odds(score)
        for group, limit in limits:
            confidence = rule.confidence_at(log_odds, group)
            if isinstance(confidence, Unmeasured) or confidence >= limit:
                return True
        return False

    return scorer, passes


def _limits(gate: Gate, policy: Policy, threshold: float | None) -> list[tuple[str | None, float]]:
    """The threshold of each condition that has one; that of a policy without conditions is of None."""
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
