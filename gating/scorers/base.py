"""The protocols of scorers: a score of the evidence, higher = more confident, or Unmeasured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from gating.types import Unmeasured

if TYPE_CHECKING:
    from gating.types import Evidence

#: The kinds of evidence that scorers read.
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
#: The scale of a score: ln of a probability (<= 0), a probability ([0, 1]), or the real line.
Scale = Literal["logprob", "probability", "real"]


class Scorer(Protocol):
    """A function of the evidence, called by ``name`` in ``SCORERS``, policies and configurations."""

    @property
    def name(self) -> str:
        """The scorer's key in ``SCORERS``."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """The kinds of evidence that the scorer requires."""
        ...

    @property
    def scale(self) -> Scale:
        """The scale of the scores."""
        ...

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return a finite number, never NaN, or Unmeasured with the reason."""
        ...


class Bounds(NamedTuple):
    """The least and the greatest score that an answer can still reach."""

    low: float
    high: float


@runtime_checkable
class SampleScorer(Scorer, Protocol):
    """A scorer of samples that bounds its score while samples are missing."""

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """Return the bounds of ``score`` once the samples of ``evidence`` have grown to ``k``, which is no fewer.

        Return Unmeasured where the score will be unmeasured with any samples.
        """
        ...


def score_of_all(scorer: SampleScorer, evidence: Evidence) -> float | Unmeasured:
    """Return the score when no sample is missing, where both bounds are equal; Unmeasured without samples."""
    if not evidence.samples:
        return Unmeasured("no samples")
    bounds = scorer.bounds(evidence, len(evidence.samples))
    return bounds if isinstance(bounds, Unmeasured) else bounds.low
