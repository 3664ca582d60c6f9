"""Decisions with fewer samples than the policy was fitted on, where the missing ones could not change them.

A score from fewer samples than the policy's labelled answers had is not comparable. An answer with missing
samples is therefore decided only where the verdict is the same whatever they are (``sequential.settled``), or
where a test at level ε says so (``sequential.stops``). Otherwise it is unmeasured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from gating.answers import is_abstention
from gating.gate import Uncalibrated, source_of
from gating.scorers import SampleScorer
from gating.sequential import ends, passes, scorers_of, settled, stops
from gating.types import Decision, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from gating.gate import Gate
    from gating.scorers import Need
    from gating.types import Evidence

#: When samples are drawn: always (none), where they can change the verdict (band), or a few at a time (sequential).
Wait = Literal["none", "band", "sequential"]
#: A sample that supports no answer.
SILENT = "I don't know."
#: The kinds of evidence that come with samples.
_OF_SAMPLES: frozenset[Need] = frozenset({"samples", "embeddings", "meanings"})
#: The scorer for which a sample either agrees or does not; the test at level ε counts these votes.
VOTES = "agreement_exact"


def decide(
    gate: Gate,
    evidence: Evidence,
    k: int,
    *,
    threshold: float | None = None,
    applies: bool = True,
    level: float = 0.0,
) -> Decision:
    """Decide as ``gate.decide`` with all ``k`` samples; with fewer, only where they settle the verdict.

    With fewer samples, the score and the confidence are the bounds closest to the threshold: lower bounds where
    the answer passes, upper bounds where it does not. ``level`` in [0, 1) bounds the probability that all ``k``
    samples would have decided otherwise; 0 allows only certain decisions.
    """
    decision = gate.decide(evidence, threshold=threshold, applies=applies)
    missing = k - len(evidence.samples)
    if missing <= 0 or decision.reason == "upstream_abstained" or not applies or not reads_samples(gate):
        return decision
    verdict = settled(gate, evidence, k, threshold=threshold)
    if verdict is not None:
        return _at_the_end(gate, evidence, k, decision, passing=verdict)
    tested = by_test(gate, evidence, k, level, threshold=threshold)
    if tested is not None and decision.score is not None and decision.served is tested:
        return decision
    return Decision(
        gate.on_unmeasured,
        "unmeasured",
        threshold=decision.threshold,
        detail=f"{missing} of {k} samples are missing, and they could change the verdict",
    )


def reads_samples(gate: Gate) -> bool:
    """Return whether any scorer of the gate reads samples."""
    return any(isinstance(scorer, SampleScorer) for scorer in scorers_of(gate))


def is_open(
    gate: Gate, evidence: Evidence, k: int, *, threshold: float | None = None, level: float = 0.0
) -> bool:
    """Return whether further samples, up to ``k`` in all, can still change the verdict."""
    if len(evidence.samples) >= k or settled(gate, evidence, k, threshold=threshold) is not None:
        return False
    tested = by_test(gate, evidence, k, level, threshold=threshold)
    return tested is None or gate.decide(evidence, threshold=threshold).served is not tested


def fewest(
    gate: Gate, evidence: Evidence, k: int, *, threshold: float | None = None, level: float = 0.0
) -> int:
    """Return the least number of further samples that could settle the verdict; drawing so many wastes none.

    The number is that of the extreme cases, in which all of them agree with the answer or none does. It is at
    least 1 where fewer than ``k`` samples have been drawn.
    """
    left = k - len(evidence.samples)
    for more in range(1, left):
        for said in (evidence.answer, SILENT):
            grown = replace(evidence, samples=(*evidence.samples, *[said] * more))
            if not is_open(gate, grown, k, threshold=threshold, level=level):
                return more
    return left


def drawn(gate: Gate, evidence: Evidence, wait: Wait, *, level: float = 0.0) -> Evidence:
    """Return the evidence with those of its samples that a route with the setting ``wait`` would have drawn.

    ``evidence`` has all samples. ``none`` keeps all, ``band`` all or none, and ``sequential`` repeatedly the
    fewest that can settle the verdict. Reports use this on recorded samples.
    """
    if wait == "none":
        return evidence
    grown, k = replace(evidence, samples=()), len(evidence.samples)
    if is_abstention(evidence.answer):
        return grown
    while is_open(gate, grown, k, level=level):
        more = k if wait == "band" else fewest(gate, grown, k, level=level)
        grown = replace(evidence, samples=evidence.samples[: len(grown.samples) + more])
    return grown


def by_test(
    gate: Gate, evidence: Evidence, k: int, level: float, *, threshold: float | None = None
) -> bool | None:
    """Return the verdict of a test at ``level`` on the votes so far; None where it is open or there are no votes."""
    votes = [scorer for scorer in scorers_of(gate) if isinstance(scorer, SampleScorer)]
    if level <= 0.0 or not evidence.samples or [scorer.name for scorer in votes] != [VOTES]:
        return None
    share = votes[0].score(evidence)
    needed = _needed(gate, evidence, k, threshold)
    if isinstance(share, Unmeasured) or needed is None:
        return None
    agreeing = round(share * len(evidence.samples))
    stop = stops(k, needed, level)[len(evidence.samples) - 1]
    if agreeing >= stop.succeed:
        return True
    return False if agreeing <= stop.fail else None


def _needed(gate: Gate, evidence: Evidence, k: int, threshold: float | None) -> int | None:
    """Return the least number of agreeing samples among ``k`` that lets the answer pass; None where none suffices."""
    scorers = scorers_of(gate)
    other = [None if isinstance(scorer, SampleScorer) else scorer.score(evidence) for scorer in scorers]
    for agreeing in range(1, k + 1):
        scores = [agreeing / k if score is None else score for score in other]
        if passes(gate, scores, threshold, evidence):
            return agreeing
    return None


def _at_the_end(gate: Gate, evidence: Evidence, k: int, decision: Decision, *, passing: bool) -> Decision:
    lows, highs = ends(gate, evidence, k)
    score, confidence = _read(gate, lows if passing else highs, evidence)
    needs: AbstractSet[Need] = gate.needs if evidence.samples else gate.needs - _OF_SAMPLES
    return Decision(
        "answer" if passing else "abstain",
        "confident" if passing else "below_threshold",
        confidence=confidence,
        threshold=decision.threshold,
        score=score,
        source=source_of(needs),
    )


def _read(
    gate: Gate, scores: Sequence[float | Unmeasured], evidence: Evidence
) -> tuple[float | None, float | None]:
    """Return the score and the confidence for the scores of the gate's scorers; None where unmeasured."""
    if isinstance(gate.rule, Uncalibrated):
        (score,) = scores
        return (None if isinstance(score, Unmeasured) else score), None
    group = None if gate.rule.conditions is None else gate.rule.conditions.of(evidence)
    measured = gate.rule.read_scores(scores, group)
    return (None, None) if isinstance(measured, Unmeasured) else (measured.score, measured.confidence)
