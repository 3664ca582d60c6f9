"""The answer with passages held against the answer without them."""

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

#: What the closed-book answer's own word counts where neither answer has logprobs: half of a certain one.
UNTOLD = 0.5


def agreement(answer: str, closed_book: str) -> float | Unmeasured:
    """How far the closed-book answer says what the answer says, in [0, 1], as ``agreement`` reads it."""
    return AGREEMENT.score(Evidence(answer, samples=(closed_book,)))


@dataclass(frozen=True, slots=True)
class ClosedBookContrast:
    """(2 a - 1) p in [-1, 1]: a confident closed-book answer speaks for the open-book one, or against it.

    a in [0, 1] is their agreement and p = exp(mean token logprob) of the closed-book answer; 0 where that one
    declines, which says nothing of the other. On human-labelled answers of Natural Questions .93 were right
    where the two agree and .63 where they do not, of TriviaQA .97 and .67. What passages do to refusals:
    Zhou et al. 2025, "Do Retrieval Augmented Language Models Know When They Don't Know?", arXiv:2509.01476.
    The weighting by p is this project's own. Passages inflate the open-book answer's own logprobs; those of
    the closed-book answer they cannot touch.
    """

    name: str = "closed_book_contrast"
    needs: frozenset[Need] = frozenset({"closed_book"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """The product; Unmeasured without a closed-book answer, or where one answer alone has logprobs."""
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
