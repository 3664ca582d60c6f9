"""The evidence that an answer does not bring itself."""

from __future__ import annotations

from proxy.requests.evidence.gathering import NO_GATHERING, Answer, Gatherer, Gathering, OverBudget
from proxy.requests.evidence.local import Benches
from proxy.requests.evidence.making import GATHERERS, gatherers_of

__all__ = [
    "GATHERERS",
    "NO_GATHERING",
    "Answer",
    "Benches",
    "Gatherer",
    "Gathering",
    "OverBudget",
    "gatherers_of",
]
