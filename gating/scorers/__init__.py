"""The scorers, by name; a further one is a file and a line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gating.scorers.base import Need, Scale, Scorer
from gating.scorers.feature import FeatureScorer
from gating.scorers.logprob import LOGPROB_SCORERS

if TYPE_CHECKING:
    from collections.abc import Mapping

SCORERS: Mapping[str, Scorer] = MappingProxyType({scorer.name: scorer for scorer in (*LOGPROB_SCORERS,)})

__all__ = ["SCORERS", "FeatureScorer", "Need", "Scale", "Scorer"]
