"""Scores from the answer's token logprobs, which need no further call.

All read natural logarithms that ``clean_logprobs`` has checked and clipped. Sums and minima are computed in pure
Python, because building an array takes longer; only the entropy uses numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from math import ceil
from operator import sub
from typing import TYPE_CHECKING

import numpy as np

from gating.evidence import clean_logprobs
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gating.scorers.base import Need, Scale
    from gating.types import Evidence

#: ``tail_logprob`` reads a window of one TAIL-th of the answer.
TAIL = 10
#: Tolerance on the sum of the probabilities at one position: servers round each of them.
EXCESS = 1e-3


@dataclass(frozen=True, slots=True)
class LogprobScorer:
    """A statistic of the token logprobs (n,) in [FLOOR, 0], on the same scale."""

    name: str
    statistic: Callable[[Sequence[float]], float]
    needs: frozenset[Need] = frozenset({"logprobs"})
    scale: Scale = "logprob"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the statistic, in nats; Unmeasured without usable logprobs."""
        logprobs = clean_logprobs(evidence.token_logprobs)
        if isinstance(logprobs, Unmeasured):
            return logprobs
        return float(self.statistic(logprobs))


def mean(logprobs: Sequence[float]) -> float:
    """Return the mean logprob: the logarithm of the geometric mean probability, or minus the log-perplexity."""
    return sum(logprobs) / len(logprobs)


def first(logprobs: Sequence[float]) -> float:
    """Return the logprob of the first token."""
    return logprobs[0]


def tail(logprobs: Sequence[float]) -> float:
    """Return the mean of the least confident window of ceil(n / 10) consecutive tokens.

    This is the lowest group confidence of DeepConf (Fu et al. 2025, "Deep Think with Confidence", section 3.1),
    computed from the logprobs of the generated tokens, with a window that grows with the answer.
    """
    width = ceil(len(logprobs) / TAIL)
    if width == 1:
        return min(logprobs)
    sums = list(accumulate(logprobs, initial=0.0))
    lowest: float = min(map(sub, sums[width:], sums))
    return min(lowest, 0.0) / width  # by rounding, a difference of two sums may be slightly above 0


@dataclass(frozen=True, slots=True)
class TopKEntropy:
    """Minus the mean entropy of the next token, in nats, over the answer's positions; <= 0.

    At each position only the k most likely tokens are known: H = -sum p ln p - r ln r, where r = 1 - sum p,
    clipped at 0, is the probability of all other tokens, treated as one outcome. H is a lower bound of the true
    entropy.
    """

    name: str = "topk_entropy"
    needs: frozenset[Need] = frozenset({"logprobs", "top_logprobs"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return minus the mean entropy; Unmeasured without usable top logprobs at each of the answer's positions."""
        places, own = evidence.top_logprobs, evidence.token_logprobs
        if isinstance(own, Unmeasured):
            return own
        if places is None:
            return Unmeasured("no top logprobs")
        if own is not None and len(own) != len(places):
            return Unmeasured(f"top logprobs at {len(places)} positions for {len(own)} tokens")
        widths = [len(place) for place in places]
        if not widths or 0 in widths:
            return Unmeasured("a token has no top logprobs" if widths else "no tokens")
        logprobs = clean_logprobs(list(chain.from_iterable(places)))
        if isinstance(logprobs, Unmeasured):
            return Unmeasured(f"top logprobs: {logprobs.reason}")
        return _mean_entropy(np.array(logprobs), np.cumsum([0, *widths[:-1]]))


def _mean_entropy(logprobs: NDArray[np.float64], starts: NDArray[np.int64]) -> float | Unmeasured:
    """Return minus the mean entropy over positions, which begin at ``starts`` (n,) in ``logprobs`` (n * k,)."""
    probabilities = np.exp(logprobs)
    mass = np.add.reduceat(probabilities, starts)
    if mass.max() > 1.0 + EXCESS:
        return Unmeasured("the top probabilities at a token sum to more than 1")
    rest = 1.0 - mass
    rest = rest[rest > 0.0]  # r ln r -> 0 as r -> 0
    return float(probabilities @ logprobs + rest @ np.log(rest)) / len(starts)


LOGPROB_SCORERS = (
    LogprobScorer("mean_logprob", mean),
    LogprobScorer("min_logprob", min),
    LogprobScorer("sequence_logprob", sum),
    LogprobScorer("first_token_logprob", first),
    LogprobScorer("tail_logprob", tail),
    TopKEntropy(),
)
