"""CoCoA: token probabilities and agreement in one score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gating.evidence import clean_logprobs
from gating.scorers.agreement import AGREEMENT
from gating.scorers.base import Bounds, score_of_all
from gating.scorers.logprob import mean
from gating.types import Unmeasured

if TYPE_CHECKING:
    from gating.scorers.base import Need, Scale
    from gating.types import Evidence


@dataclass(frozen=True, slots=True)
class Cocoa:
    """-u * (1/k) sum over i of (1 - s_i), <= 0.

    Vashurin et al. 2025, "Uncertainty Quantification for LLMs through Minimum Bayes Risk: Bridging Confidence
    and Consistency", section 3, in the variant CoCoA_PPL: u is minus the mean token logprob of the served
    answer, in nats, and s_i in [0, 1] its similarity to sample i, as ``agreement`` reads it.
    """

    name: str = "cocoa"
    needs: frozenset[Need] = frozenset({"logprobs", "samples"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the product; Unmeasured where either factor is."""
        return score_of_all(self, evidence)

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """Return the products at the bounds of the agreement."""
        agreement = AGREEMENT.bounds(evidence, k)
        if isinstance(agreement, Unmeasured):
            return agreement
        logprobs = clean_logprobs(evidence.token_logprobs)
        if isinstance(logprobs, Unmeasured):
            return logprobs
        u = -mean(logprobs)
        return Bounds(-u * (1.0 - agreement.low), -u * (1.0 - agreement.high))
