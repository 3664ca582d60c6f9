"""What every scorer is: one reading of the evidence, higher = more confident, or unmeasured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from gating.types import Unmeasured

if TYPE_CHECKING:
    from gating.types import Evidence

#: What must be observed before a scorer can read it.
Need = Literal[
    "logprobs",
    "top_logprobs",
    "samples",
    "embeddings",
    "meanings",
    "p_true",
    "verbalised",
    "closed_book",
    "features",
]
#: What a score is on: ln of a probability (<= 0), a probability ([0, 1]), or the real line.
Scale = Literal["logprob", "probability", "real"]


class Scorer(Protocol):
    """One reading of the evidence; its ``name`` is its key in ``SCORERS``, policies and configurations."""

    @property
    def name(self) -> str:
        """The key."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """The kinds of evidence without which it is unmeasured."""
        ...

    @property
    def scale(self) -> Scale:
        """What its scores are on."""
        ...

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """A finite number, or why there is none; never NaN."""
        ...


class Bounds(NamedTuple):
    """The least and the greatest score that an answer can still get."""

    low: float
    high: float


@runtime_checkable
class SampleScorer(Scorer, Protocol):
    """A scorer of which it is known, while samples are still to come, what they can make of its score."""

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """What ``score`` can say when the samples of ``evidence`` have become ``k``, which are no fewer.

        Unmeasured where it will be, whatever comes.
        """
        ...


def score_of_all(scorer: SampleScorer, evidence: Evidence) -> float | Unmeasured:
    """A score once every sample is there: then its bounds meet. Unmeasured without samples, or where they are."""
    if not evidence.samples:
        return Unmeasured("no samples")
    bounds = scorer.bounds(evidence, len(evidence.samples))
    return bounds if isinstance(bounds, Unmeasured) else bounds.low
