"""The evidence that an answer does not bring itself."""

from __future__ import annotations

from proxy.gathering.base import NO_GATHERING, Answer, Gatherer, Gathering, OverBudget
from proxy.gathering.local import Benches
from proxy.gathering.making import GATHERERS, gatherers_of

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
