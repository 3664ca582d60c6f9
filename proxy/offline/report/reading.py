"""Graded answers as a policy reads them: numbers, and a few texts to look at."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from gating.answers import is_abstention
from gating.tuning import ABSTAINED, ScoredAnswers
from gating.tuning.graded import OUTCOMES
from gating.types import Unmeasured
from proxy.offline.evaluation.overrefusal import case_of, count_conditions
from proxy.offline.report.examples import ExampleCollector
from proxy.offline.report.stages import Draws, manners

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from gating import Policy
    from proxy.offline.evaluation.overrefusal import Case, ConditionCounts
    from proxy.offline.report.examples import Example
    from proxy.offline.report.stages import Way
    from proxy.records import Record


@dataclass(frozen=True, slots=True)
class Source:
    """Where the answers are from: a file's name, and whether they are its ``test`` split.

    Of a ``given`` file nobody can tell which answers the policy was fitted on.
    """

    name: str
    split: Literal["given", "test"] = "given"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The answers of a file as ``judged`` (n,) with the number of the question of each, ``group`` (n,).

    ``unlike`` counts the answers that were made with something else than the policy was fitted on.
    ``thresholds`` (n,) is each answer's own, infinite where it has none; None where the policy has one for
    all. ``contexts`` is what passages do, to the model ``alone`` and ``gated``; empty where no record tells.
    """

    judged: ScoredAnswers
    group: NDArray[np.intp]
    examples: Mapping[str, tuple[Example, ...]]
    unlike: int
    thresholds: NDArray[np.float64] | None = None
    contexts: Mapping[str, Mapping[str, ConditionCounts]] = field(default_factory=dict)
    #: What each manner of drawing samples does; empty where the policy reads none.
    sampling: Mapping[str, Way] = field(default_factory=dict)

    @property
    def questions(self) -> int:
        """How many there are."""
        return int(np.unique(self.group).size)


def read(records: Iterable[Record], policy: Policy, level: float | None = None) -> Reading:
    """Every record by the code that serves; texts are kept of a few only. ``level``: see ``manners``."""
    outcomes, groups = array("b"), array("q")
    confidences, measured = array("d"), array("b")
    numbers: dict[str, int] = {}
    examples = ExampleCollector(policy.threshold)
    draws = Draws(policy, manners(level))
    unlike = 0
    thresholds = array("d")
    alone: list[Case] = []
    gated: list[Case] = []
    for row, record in enumerate(records):
        # What the gate takes for the model's own "I don't know" is withheld, whatever its label.
        outcome = ABSTAINED if is_abstention(record.answer) else OUTCOMES[record.label]
        evidence = record.evidence()
        confidence = policy.confidence(evidence)
        threshold = policy.threshold_for(evidence)
        thresholds.append(np.inf if threshold is None else threshold)
        known = not isinstance(confidence, Unmeasured)
        outcomes.append(outcome)
        groups.append(numbers.setdefault(record.group or record.id, len(numbers)))
        measured.append(known)
        confidences.append(0.0 if isinstance(confidence, Unmeasured) else confidence)
        if not isinstance(confidence, Unmeasured) and outcome != ABSTAINED:
            examples.add(row, record, confidence, outcome)
        case = case_of(record)
        if case is not None:
            alone.append(case)
            served = known and confidences[-1] >= thresholds[-1]
            gated.append(case if served else case._replace(label="abstained"))
        draws.add(record)
        unlike += not policy.matches(record.made_with or {})
    judged = ScoredAnswers(
        rows=np.arange(len(outcomes)),
        outcome=np.array(outcomes, dtype=np.int8),
        confidence=np.array(confidences, dtype=np.float64),
        measured=np.array(measured, dtype=np.bool_),
    )
    return Reading(
        judged,
        np.array(groups, dtype=np.intp),
        examples.examples(),
        unlike,
        None if policy.conditions is None else np.array(thresholds, dtype=np.float64),
        {"alone": count_conditions(alone), "gated": count_conditions(gated)} if alone else {},
        draws.ways(),
    )
