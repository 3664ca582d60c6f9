"""Graded answers scored by a policy: arrays for the figures, and a few texts as examples."""

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
from proxy.offline.report.strategies import SamplingCosts, sampling_modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from gating import Policy
    from proxy.offline.evaluation.overrefusal import Case, ConditionCounts
    from proxy.offline.report.examples import Example
    from proxy.offline.report.strategies import Strategy
    from proxy.records import Record


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of the answers: a file's name, and whether they are its ``test`` split.

    For a ``given`` file it is not known which answers the policy was fitted on.
    """

    name: str
    split: Literal["given", "test", "certify"] = "given"


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFile:
    """The scored answers of a file, ``answers`` (n,), with the question number of each, ``group`` (n,).

    ``unlike`` counts the answers whose fingerprint differs from the policy's. ``thresholds`` (n,) holds the threshold
    of each answer's condition, infinite where all are withheld; None where the policy has a single threshold.
    ``contexts`` holds counts by condition for the model ``alone`` and ``gated``; empty without conditions.
    """

    answers: ScoredAnswers
    group: NDArray[np.intp]
    examples: Mapping[str, tuple[Example, ...]]
    unlike: int
    thresholds: NDArray[np.float64] | None = None
    contexts: Mapping[str, Mapping[str, ConditionCounts]] = field(default_factory=dict)
    #: The strategies by sampling mode; empty where the policy reads no samples.
    sampling: Mapping[str, Strategy] = field(default_factory=dict)

    @property
    def questions(self) -> int:
        """The number of different questions."""
        return int(np.unique(self.group).size)


def score_records(records: Iterable[Record], policy: Policy, level: float | None = None) -> ScoredFile:
    """Score every record by the code that serves, keeping a few texts; ``level``: see ``sampling_modes``."""
    outcomes, groups = array("b"), array("q")
    confidences, measured = array("d"), array("b")
    numbers: dict[str, int] = {}
    examples = ExampleCollector(policy.threshold)
    draws = SamplingCosts(policy, sampling_modes(level))
    unlike = 0
    thresholds = array("d")
    alone: list[Case] = []
    gated: list[Case] = []
    for row, record in enumerate(records):
        # An answer that the gate reads as the model's own "I don't know." is an abstention, whatever its label.
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
    return ScoredFile(
        judged,
        np.array(groups, dtype=np.intp),
        examples.examples(),
        unlike,
        None if policy.conditions is None else np.array(thresholds, dtype=np.float64),
        {"alone": count_conditions(alone), "gated": count_conditions(gated)} if alone else {},
        draws.ways(),
    )
