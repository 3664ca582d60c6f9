"""The table of scorers by name; a new scorer is one file and one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gating.scorers.agreement import AGREEMENT_SCORERS
from gating.scorers.base import Bounds, Need, SampleScorer, Scale, Scorer
from gating.scorers.closed_book import ClosedBookContrast
from gating.scorers.cocoa import Cocoa
from gating.scorers.degree import Degree
from gating.scorers.entropy import SemanticEntropy
from gating.scorers.feature import FeatureScorer
from gating.scorers.given import PTrue, Verbalised
from gating.scorers.logprob import LOGPROB_SCORERS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: In order of cost: evidence of the answer itself, one further call, further samples.
_ALL: tuple[Scorer, ...] = (
    *LOGPROB_SCORERS,
    PTrue(),
    Verbalised(),
    ClosedBookContrast(),
    *AGREEMENT_SCORERS,
    SemanticEntropy(),
    Degree(),
    Cocoa(),
)
SCORERS: Mapping[str, Scorer] = MappingProxyType({scorer.name: scorer for scorer in _ALL})

__all__ = ["SCORERS", "Bounds", "FeatureScorer", "Need", "SampleScorer", "Scale", "Scorer"]
