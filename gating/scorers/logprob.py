"""Scores of the answer's token logprobs: cheap, and of one call's worth.

Each reads natural logarithms that ``clean_logprobs`` has checked and clipped. Pure Python: answers are short,
and an array costs more to make than these sums to take.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import ceil, exp, isnan, log
from operator import sub
from typing import TYPE_CHECKING

from gating.evidence import FLOOR, ROUNDING, clean_logprobs
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gating.scorers.base import Need, Scale
    from gating.types import Evidence

#: The share of an answer that ``tail_logprob`` reads.
TAIL = 10
#: Probabilities of one place may sum to this much over 1: servers round each of them.
EXCESS = 1e-3


@dataclass(frozen=True, slots=True)
class LogprobScorer:
    """A statistic of the token logprobs (n,) in [FLOOR, 0], itself on their scale."""

    name: str
    statistic: Callable[[Sequence[float]], float]
    needs: frozenset[Need] = frozenset({"logprobs"})
    scale: Scale = "logprob"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """The statistic, in nats; Unmeasured without usable logprobs."""
        logprobs = clean_logprobs(evidence.token_logprobs)
        if isinstance(logprobs, Unmeasured):
            return logprobs
        return float(self.statistic(logprobs))


def mean(logprobs: Sequence[float]) -> float:
    """The logarithm of the tokens' geometric mean probability (minus the log of the perplexity)."""
    return sum(logprobs) / len(logprobs)


def first(logprobs: Sequence[float]) -> float:
    """The first token's."""
    return logprobs[0]


def tail(logprobs: Sequence[float]) -> float:
    """The mean of the least confident window of ceil(n / 10) consecutive tokens.

    Lowest group confidence of DeepConf (Fu et al. 2025, "Deep Think with Confidence", section 3.1), with a
    window that grows with the answer, on the tokens' own logprobs.
    """
    width = ceil(len(logprobs) / TAIL)
    if width == 1:
        return min(logprobs)
    sums = list(accumulate(logprobs, initial=0.0))
    lowest: float = min(map(sub, sums[width:], sums))
    return min(lowest, 0.0) / width  # sums of nothing but 0 and -1e-17 may differ by +1e-17


@dataclass(frozen=True, slots=True)
class TopKEntropy:
    """Minus the mean entropy of the next token, in nats, over the answer's places; <= 0.

    Of a place only the k most likely tokens are known: H = -sum p ln p - r ln r, where r = 1 - sum p, clipped
    at 0, is the probability of all others, taken as one outcome. Never above the true entropy.
    """

    name: str = "topk_entropy"
    needs: frozenset[Need] = frozenset({"logprobs", "top_logprobs"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Minus the mean entropy; Unmeasured without usable top logprobs at each of the answer's places."""
        places, own = evidence.top_logprobs, evidence.token_logprobs
        if isinstance(own, Unmeasured):
            return own
        if places is None:
            return Unmeasured("no top logprobs")
        if own is not None and len(own) != len(places):
            return Unmeasured(f"top logprobs of {len(places)} places for {len(own)} tokens")
        if len(places) == 0:
            return Unmeasured("no tokens")
        total = 0.0
        for place in places:
            entropy = _entropy(place)
            if isinstance(entropy, Unmeasured):
                return entropy
            total += entropy
        return -total / len(places)


def _entropy(logprobs: Sequence[float]) -> float | Unmeasured:
    """The entropy of one place from its top logprobs (k,), the rest as one outcome."""
    if len(logprobs) == 0:
        return Unmeasured("a place has no top logprobs")
    entropy = mass = 0.0
    for value in logprobs:
        if value is None or isnan(value) or value > ROUNDING:
            return Unmeasured("a top logprob is missing, NaN or positive")
        clipped = max(value, FLOOR)
        probability = exp(clipped)
        mass += probability
        entropy -= probability * clipped
    if mass > 1.0 + EXCESS:
        return Unmeasured("a place's top probabilities sum to more than 1")
    rest = 1.0 - mass
    return entropy - rest * log(rest) if rest > 0.0 else max(entropy, 0.0)


LOGPROB_SCORERS = (
    LogprobScorer("mean_logprob", mean),
    LogprobScorer("min_logprob", min),
    LogprobScorer("sequence_logprob", sum),
    LogprobScorer("first_token_logprob", first),
    LogprobScorer("tail_logprob", tail),
    TopKEntropy(),
)
