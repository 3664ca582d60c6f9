"""How much the answer and its samples are alike among themselves: the degree matrix."""

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
    sums of W, the Jaccard similarities of the m = 1 + k answers, the served one among them; so this is the
    mean of W. A sample that declines is like nothing but itself.
    """

    name: str = "degree"
    needs: frozenset[Need] = frozenset({"samples"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """The mean similarity; Unmeasured without samples, or where the answer says nothing."""
        return score_of_all(self, evidence)

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """Samples to come may be like nothing, or (which is more than they can) like everything at once."""
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
