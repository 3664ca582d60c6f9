"""The evidence that an answer does not bring itself."""

from __future__ import annotations

from proxy.gathering.base import NO_GATHERING, Answer, Gatherer, Gathering, OverBudget

__all__ = ["NO_GATHERING", "Answer", "Gatherer", "Gathering", "OverBudget"]
