"""Scores that the model states about its answer: P(True) and a confidence in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gating.types import Unmeasured

if TYPE_CHECKING:
    from gating.scorers.base import Need, Scale
    from gating.types import Evidence


@dataclass(frozen=True, slots=True)
class PTrue:
    """The model's probability in [0, 1] that its answer is true.

    P(True) of Kadavath et al. 2022, "Language Models (Mostly) Know What They Know", section 3: the model is asked
    whether the proposed answer is (A) True or (B) False, and the score is the probability of the token for true.
    """

    name: str = "p_true"
    needs: frozenset[Need] = frozenset({"p_true"})
    scale: Scale = "probability"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return P(True); Unmeasured where it is absent or not in [0, 1]."""
        return _probability("P(True)", evidence.p_true)


@dataclass(frozen=True, slots=True)
class Verbalised:
    """The confidence in [0, 1] that the model states in words (Lin, Hilton & Evans 2022; Tian et al. 2023).

    The scale is the real line, because a stated 100 % does not mean certainty, and its log-odds would be
    infinite.
    """

    name: str = "verbalised"
    needs: frozenset[Need] = frozenset({"verbalised"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the stated confidence; Unmeasured where it is absent or not in [0, 1]."""
        return _probability("verbalised confidence", evidence.verbalised)


def _probability(what: str, value: float | None) -> float | Unmeasured:
    if value is None:
        return Unmeasured(f"no {what}")
    return float(value) if 0.0 <= value <= 1.0 else Unmeasured(f"the {what} is not in [0, 1]")
