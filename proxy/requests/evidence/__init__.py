"""Evidence beyond the logprobs that an answer brings itself: samples, closed-book answers, stated confidence."""

from __future__ import annotations

from proxy.requests.evidence.gatherers import GATHERERS, make_gatherers
from proxy.requests.evidence.gathering import Answer, Gatherer, Gathering, OverBudget
from proxy.requests.evidence.local import LocalModels

__all__ = [
    "GATHERERS",
    "Answer",
    "Gatherer",
    "Gathering",
    "LocalModels",
    "OverBudget",
    "make_gatherers",
]
