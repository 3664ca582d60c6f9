"""Scores that the user computes and supplies with the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from gating.types import Unmeasured

if TYPE_CHECKING:
    from gating.scorers.base import Need, Scale
    from gating.types import Evidence

_RANGES: dict[Scale, tuple[float, float]] = {
    "logprob": (float("-inf"), 0.0),
    "probability": (0.0, 1.0),
    "real": (float("-inf"), float("inf")),
}


@dataclass(frozen=True, slots=True)
class FeatureScorer:
    """A scorer that returns the feature called ``name``, on the scale inferred from the tuning data."""

    name: str
    scale: Scale = "real"
    needs: frozenset[Need] = frozenset({"features"})

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the feature; Unmeasured where it is absent, not finite, or off its scale."""
        value = evidence.features.get(self.name)
        if value is None:
            return Unmeasured(f"no feature {self.name}")
        low, high = _RANGES[self.scale]
        if not isfinite(value) or not low <= value <= high:
            return Unmeasured(f"feature {self.name} is not on the scale {self.scale}")
        return float(value)
