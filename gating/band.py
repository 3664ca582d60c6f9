"""Samples only where they can change the verdict: the band of first scores that leaves it open."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from gating.scorers import SampleScorer
from gating.sequential import passes, scorers_of
from gating.transform import LOWER
from gating.types import Evidence, GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable

    from gating.gate import Gate
    from gating.scorers import Bounds, Scale

#: Where a first score is looked for. A logprob below LOWER counts as it does; a real score has no end.
_ENDS: dict[Scale, tuple[float, float]] = {
    "logprob": (LOWER, 0.0),
    "probability": (0.0, 1.0),
    "real": (-1e9, 1e9),
}


class Band(NamedTuple):
    """Samples decide where ``low <= score < high``: below none can let the answer pass, above all must.

    ``low`` is inf where no answer can ever pass, -inf where samples alone may let any pass; ``high`` inf where
    samples alone may fail any.
    """

    low: float
    high: float

    def __contains__(self, score: object) -> bool:
        """Whether the samples decide."""
        return isinstance(score, int | float) and self.low <= score < self.high


def band(gate: Gate, k: int, *, threshold: float | None = None) -> Band:
    """The band of the one scorer that needs no samples, when ``k`` samples may be asked for.

    For reports; ``gating.sequential.settled`` says the same of one answer's evidence, and of any policy.
    Raises GatingError where the gate does not join one such scorer to scorers of samples alone.
    """
    scorers = scorers_of(gate)
    rest = [
        _reach(scorer, k) if isinstance(scorer, SampleScorer) and "logprobs" not in scorer.needs else None
        for scorer in scorers
    ]
    if len(scorers) < 2 or rest.count(None) != 1 or isinstance(scorers[rest.index(None)], SampleScorer):
        names = ", ".join(scorer.name for scorer in scorers)
        raise GatingError(f"band: needs one scorer without samples, and others of samples alone, not {names}")
    first = rest.index(None)

    def ever(end: int) -> Callable[[float], bool]:
        ends = [None if reach is None else reach[end] for reach in rest]

        def open_(score: float) -> bool:
            return bool(passes(gate, [score if one is None else one for one in ends], threshold))

        return open_

    scale = scorers[first].scale
    return Band(_least(ever(1), *_ENDS[scale]), _least(ever(0), *_ENDS[scale]))


def _reach(scorer: SampleScorer, k: int) -> Bounds:
    """What ``k`` samples can make of any short answer."""
    reach = scorer.bounds(Evidence("x"), k)
    if isinstance(reach, Unmeasured):
        raise GatingError(f"band: {scorer.name}: {reach.reason}")
    return reach


def _least(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least float64 in [low, high] at which ``holds``, which never turns back; -inf if all do, inf if none."""
    if holds(low):
        return -inf
    if not holds(high):
        return inf
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
