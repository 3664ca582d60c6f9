"""A comparison of the rules for choosing a threshold, on the same labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gating.rules import RULES
from gating.tuning import RIGHT, ScoredAnswers
from gating.tuning.splits import one_of_each, split
from gating.walk import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from gating.rules import Rule
    from gating.types import Certificate
    from proxy.offline.report.scoring import ScoredFile

    Array = NDArray[Any]

#: The target risks of the comparison, beside the certificate's.
TARGETS = (0.05, 0.1, 0.2)
DELTA = 0.1
#: The share of the labels that the split walk uses as its pilot; the other rules certify on all labels.
PILOT = 0.15
#: The most labels that are compared; more do not change the result, and the tables of binomial tails grow.
MOST_COMPARED = 20_000


@dataclass(frozen=True, slots=True)
class RuleChoice:
    """Coverage and observed risk at the threshold that a rule chooses for ``target_risk``.

    Where the rule chooses no threshold, ``coverage`` is 0 and ``risk`` None; without labels both are None.
    """

    target_risk: float
    coverage: float | None
    risk: float | None


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """One rule at every target; a rule that is not ``valid`` gives no guarantee."""

    name: str
    valid: bool
    citation: str
    choices: tuple[RuleChoice, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rules on ``n`` labels, one for each question, at level 1 - ``delta``."""

    n: int
    delta: float
    rules: tuple[RuleFigures, ...]


def halves(reading: ScoredFile, rng: np.random.Generator) -> tuple[ScoredAnswers, ScoredAnswers]:
    """Split into a pilot and the rest, with one answer of each question, since binomial bounds need independence."""
    parts = split(reading.group, {"pilot": PILOT, "certify": 1 - PILOT}, rng)
    pilot, certify = (_at(reading.answers, one_of_each(reading.group, rows, rng)) for rows in parts.values())
    return pilot, certify


def one_of_each_question(
    judged: ScoredAnswers, questions: Sequence[str], rng: np.random.Generator
) -> ScoredAnswers:
    """Draw one answer of ``judged`` (n,) for each different question of ``questions`` (n,)."""
    _, group = np.unique(np.array(questions, dtype=object), return_inverse=True)
    return _at(judged, one_of_each(group, np.arange(len(judged)), rng))


def compare(
    pilot: ScoredAnswers,
    certify: ScoredAnswers,
    certificate: Certificate | None,
    rng: np.random.Generator,
    *,
    pilot_is_fit: bool = False,
) -> Comparison:
    """Apply every rule at TARGETS and at the certificate's target, on at most MOST_COMPARED labels.

    ``pilot_is_fit``: the pilot's labels made the scores, so they choose where a walk starts and count for nothing else.
    """
    pilot, certify = (_drawn(part, MOST_COMPARED // 2, rng) for part in (pilot, certify))
    delta = DELTA if certificate is None else certificate.delta
    own = () if certificate is None else (certificate.target_risk,)
    targets = sorted({*TARGETS, *own})
    counted = (certify,) if pilot_is_fit else (pilot, certify)
    rules = tuple(
        RuleFigures(
            name,
            rule.valid,
            rule.citation,
            tuple(_choice(rule, pilot, counted, target, delta) for target in targets),
        )
        for name, rule in RULES.items()
    )
    return Comparison(sum(map(len, counted)), delta, rules)


def _choice(
    rule: Rule, pilot: ScoredAnswers, counted: Sequence[ScoredAnswers], target: float, delta: float
) -> RuleChoice:
    if not sum(int(part.usable.sum()) for part in counted):
        return RuleChoice(target, None, None)
    if rule.uses_pilot:
        problem = Problem.of(*pilot.labelled(), *counted[-1].labelled(), target, delta, None)
    else:
        confidence, correct = _joined([part.labelled() for part in counted])
        problem = Problem.of((), (), confidence, correct, target, delta, None)
    threshold = rule.choose(problem).threshold
    if threshold is None:
        return RuleChoice(target, 0.0, None)
    outcomes = np.concatenate([part.outcome[part.answered(threshold)] for part in counted])
    coverage = outcomes.size / sum(map(len, counted))
    return RuleChoice(target, coverage, float((outcomes != RIGHT).mean()) if outcomes.size else None)


def _joined(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    confidence, correct = zip(*parts, strict=True)
    return np.concatenate(confidence), np.concatenate(correct)


def _drawn(judged: ScoredAnswers, most: int, rng: np.random.Generator) -> ScoredAnswers:
    return _at(judged, np.sort(rng.permutation(len(judged))[:most]))


def _at(judged: ScoredAnswers, rows: Array) -> ScoredAnswers:
    return ScoredAnswers(
        judged.rows[rows], judged.outcome[rows], judged.confidence[rows], judged.measured[rows]
    )
