"""Degree-matrix uncertainty: the mean similarity among the answer and its samples."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import fsum
from typing import TYPE_CHECKING

from gating.scorers.agreement import read
from gating.scorers.base import Bounds, score_of_all
from gating.scorers.similarity import Text, jaccard
from gating.types import Unmeasured

if TYPE_CHECKING:
    from gating.scorers.base import Need, Scale
    from gating.types import Evidence


@dataclass(frozen=True, slots=True)
class Degree:
    """1 - U_Deg, where U_Deg = trace(m I - D) / m**2, in [1 / m, 1].

    Lin, Trivedi & Sun 2024, "Generating with Confidence", section 4.2. D is the diagonal matrix of the row
    sums of W, the Jaccard similarities of the m = 1 + k answers, the served one included, so the score is the
    mean of W. A sample that declines is similar only to itself.
    """

    name: str = "degree"
    needs: frozenset[Need] = frozenset({"samples"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the mean similarity; Unmeasured without samples, or where the answer declines or has no words."""
        return score_of_all(self, evidence)

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """Return the bounds with ``k`` samples: missing ones are similar to nothing, or to all answers at once."""
        answer = read(evidence.answer)
        if isinstance(answer, Unmeasured):
            return answer
        texts = [answer, *map(Text.of, evidence.samples)]
        pairs = fsum(
            0.0 if one.declines or other.declines else jaccard(one, other)
            for one, other in combinations(texts, 2)
        )
        m, seen = 1 + k, len(texts)
        to_come = (m * (m - 1) - seen * (seen - 1)) / 2
        return Bounds((m + 2 * pairs) / m**2, (m + 2 * (pairs + to_come)) / m**2)
