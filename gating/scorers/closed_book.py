"""Comparison of the answer with passages and the answer without them (closed book)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

from gating.answers import is_abstention
from gating.evidence import clean_logprobs
from gating.scorers.agreement import AGREEMENT
from gating.scorers.logprob import mean
from gating.types import Evidence, Unmeasured

if TYPE_CHECKING:
    from gating.scorers.base import Need, Scale

#: The probability p of the closed-book answer where neither answer has logprobs.
UNTOLD = 0.5


def agreement(answer: str, closed_book: str) -> float | Unmeasured:
    """Return the agreement in [0, 1] of the closed-book answer with the answer, by the scorer ``agreement``."""
    return AGREEMENT.score(Evidence(answer, samples=(closed_book,)))


@dataclass(frozen=True, slots=True)
class ClosedBookContrast:
    """(2 a - 1) p in [-1, 1]: a confident closed-book answer is evidence for or against the open-book answer.

    a in [0, 1] is the agreement of the two answers, and p = exp(mean token logprob) of the closed-book answer.
    The score is 0 where the closed-book answer declines. On human-labelled answers of Natural Questions .93 were
    right where the two answers agree and .63 where they do not; of TriviaQA .97 and .67. For the effect of
    passages on refusals, see Zhou et al. 2025, "Do Retrieval Augmented Language Models Know When They Don't
    Know?", arXiv:2509.01476. The weighting by p is introduced by this project: passages inflate the logprobs of
    the open-book answer, but not those of the closed-book answer.
    """

    name: str = "closed_book_contrast"
    needs: frozenset[Need] = frozenset({"closed_book"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the product; Unmeasured without a closed-book answer, or where only one answer has logprobs."""
        closed = evidence.closed_book
        if closed is None:
            return Unmeasured("no closed-book answer")
        agreed = agreement(evidence.answer, closed.answer)
        if isinstance(agreed, Unmeasured):
            return agreed
        if is_abstention(closed.answer):
            return 0.0
        if closed.token_logprobs is None and evidence.token_logprobs is None:
            return (2.0 * agreed - 1.0) * UNTOLD
        logprobs = clean_logprobs(closed.token_logprobs)
        if isinstance(logprobs, Unmeasured):
            return Unmeasured(f"closed book: {logprobs.reason}")
        return (2.0 * agreed - 1.0) * exp(mean(logprobs))
