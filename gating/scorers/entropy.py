"""Discrete semantic entropy: how many different meanings the samples have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import fsum, log
from typing import TYPE_CHECKING

from gating.answers import is_abstention
from gating.scorers.agreement import one_each, read
from gating.scorers.base import Bounds
from gating.scorers.similarity import Text, same
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.scorers.base import Need, Scale
    from gating.types import Evidence


@dataclass(frozen=True, slots=True)
class SemanticEntropy:
    """Minus the entropy of the meanings' shares, sum over c of p_c ln p_c, in nats; in [-ln(1 + k), 0].

    Discrete semantic entropy (Farquhar et al. 2024, "Detecting hallucinations in large language models using
    semantic entropy", Methods). p_c is the share of the 1 + k answers, the served one included, in cluster c.
    Clusters are a judge's meanings where there are any, else answers of one spelling, number or choice: an
    answer joins the first cluster whose first member it equals. Each sample that declines is a separate cluster.
    """

    name: str = "semantic_entropy"
    needs: frozenset[Need] = frozenset({"samples"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return minus the entropy; Unmeasured without samples, or where the answer declines or has no words."""
        if not evidence.samples:
            return Unmeasured("no samples")
        sizes = cluster_sizes(evidence)
        return sizes if isinstance(sizes, Unmeasured) else _negated_entropy(sizes)

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """Return the bounds with ``k`` samples: each missing one is new, or all join the largest cluster."""
        sizes = cluster_sizes(evidence)
        if isinstance(sizes, Unmeasured):
            return sizes
        to_come = k - len(evidence.samples)
        most, *others = sorted(sizes, reverse=True)
        return Bounds(
            _negated_entropy([*sizes, *[1] * to_come]),
            _negated_entropy([most + to_come, *others]),
        )


def cluster_sizes(evidence: Evidence) -> list[int] | Unmeasured:
    """Return the number of answers (the served one and its samples) in each cluster of equal meaning."""
    answer = read(evidence.answer)
    if isinstance(answer, Unmeasured):
        return answer
    if evidence.meanings is not None and evidence.samples:
        meanings = one_each(evidence, "meanings", evidence.meanings)
        return meanings if isinstance(meanings, Unmeasured) else _by_meaning(meanings, evidence.samples)
    firsts, sizes = [answer], [1]
    for sample in map(Text.of, evidence.samples):
        place = next((place for place, first in enumerate(firsts) if same(first, sample)), None)
        if place is None:
            firsts.append(sample)
            sizes.append(1)
        else:
            sizes[place] += 1
    return sizes


def _by_meaning(meanings: Sequence[int], samples: Sequence[str]) -> list[int]:
    declined = [is_abstention(sample) for sample in samples]
    said = Counter(
        [meanings[0], *(m for m, declines in zip(meanings[1:], declined, strict=True) if not declines)]
    )
    return [*said.values(), *[1] * sum(declined)]


def _negated_entropy(sizes: Sequence[int]) -> float:
    """Return sum p ln p over the shares p of ``sizes`` (n,); their order does not change the result."""
    total = sum(sizes)
    return fsum(size / total * log(size / total) for size in sizes)
