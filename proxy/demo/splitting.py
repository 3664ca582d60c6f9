"""Questions in two parts that share no fact: one to fit on, one that nothing is fitted on."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.demo.questions import Question


def parted(drawn: Sequence[Question], share: float, seed: int) -> tuple[list[Question], list[Question]]:
    """``share`` of the facts with their questions, and the rest."""
    facts = sorted({question.group for question in drawn})
    Random(seed).shuffle(facts)  # noqa: S311 - a split, not a secret
    first = frozenset(facts[: int(len(facts) * share)])
    return [q for q in drawn if q.group in first], [q for q in drawn if q.group not in first]
