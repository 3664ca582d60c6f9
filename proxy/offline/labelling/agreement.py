"""Agreement between a judge and a person, corrected for chance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Agreement(NamedTuple):
    """Agreement on the ``n`` answers that both labelled, ``same`` of them alike; ``kappa`` is None if undefined."""

    n: int
    same: int
    kappa: float | None

    def __str__(self) -> str:
        """Describe the agreement in a sentence."""
        if not self.n:
            return "the judge and the person have no labelled answer in common"
        kappa = "kappa undefined" if self.kappa is None else f"kappa {self.kappa:.2f}"
        return f"the judge and the person agree on {self.same} of {self.n} ({kappa}, n = {self.n})"


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Return Cohen's kappa (1960) of the (judge's, person's) labels.

    It is undefined where both always give the same single label, since chance alone would agree.
    """
    n, same = len(pairs), sum(one == other for one, other in pairs)
    if not n:
        return Agreement(0, 0, None)
    ours, theirs = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    by_chance = sum(ours[label] * theirs[label] for label in ours) / n**2
    return Agreement(n, same, None if by_chance == 1 else (same / n - by_chance) / (1 - by_chance))
