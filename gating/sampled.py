"""Deciding with some of the samples that the gate was fitted on: only where the others could not change it.

A score of fewer samples than the policy's labels had is another score. So an answer of which some samples are
missing is decided where the verdict is certain whatever they say (``sequential.settled``), or where a test at
level ε says so (``sequential.stops``), and is unmeasured elsewhere.
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

#: When samples are drawn: with the answer, where they can change the verdict, or a few at a time until they cannot.
Wait = Literal["none", "band", "sequential"]
#: A sample that says nothing of any answer.
SILENT = "I don't know."
#: What the samples bring; without any the score rests on none of it.
_OF_SAMPLES: frozenset[Need] = frozenset({"samples", "embeddings", "meanings"})
#: The scorer whose samples agree or do not, with nothing between: what the test at level ε counts.
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
    """``gate.decide`` where all ``k`` samples are there; of fewer only what they leave no doubt about.

    The score and the confidence are then those of the end that is nearest to the threshold: at least so
    confident where the answer passes, at most where it does not. ``level`` in [0, 1) is the chance that all the
    samples together would have decided otherwise, 0 for none.
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
    """Whether any of its scorers does."""
    return any(isinstance(scorer, SampleScorer) for scorer in scorers_of(gate))


def is_open(
    gate: Gate, evidence: Evidence, k: int, *, threshold: float | None = None, level: float = 0.0
) -> bool:
    """Whether further samples, of ``k`` in all, are still worth drawing."""
    if len(evidence.samples) >= k or settled(gate, evidence, k, threshold=threshold) is not None:
        return False
    tested = by_test(gate, evidence, k, level, threshold=threshold)
    return tested is None or gate.decide(evidence, threshold=threshold).served is not tested


def fewest(
    gate: Gate, evidence: Evidence, k: int, *, threshold: float | None = None, level: float = 0.0
) -> int:
    """How many samples must come before the verdict can be settled: drawing so many together wastes none.

    They are few where all of them say what the answer says, or nothing of it. At least 1, where ``k`` samples
    are more than there are.
    """
    left = k - len(evidence.samples)
    for more in range(1, left):
        for said in (evidence.answer, SILENT):
            grown = replace(evidence, samples=(*evidence.samples, *[said] * more))
            if not is_open(gate, grown, k, threshold=threshold, level=level):
                return more
    return left


def drawn(gate: Gate, evidence: Evidence, wait: Wait, *, level: float = 0.0) -> Evidence:
    """The evidence with those of its samples, which are all that there may be, that a route draws which waits so.

    ``none``: all of them; ``band``: all or none; ``sequential``: the fewest that can settle the verdict, again
    and again. For reports: what a route does with samples that were drawn before.
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
    """What a test at ``level`` says of the votes so far: True, False, or None (also where they are no votes)."""
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
    """The least number of agreeing samples among ``k`` with which the answer passes; None without any."""
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
    """The score and the confidence of scores that are settled, so none of them is unmeasured."""
    if isinstance(gate.rule, Uncalibrated):
        (score,) = scores
        return (None if isinstance(score, Unmeasured) else score), None
    group = None if gate.rule.conditions is None else gate.rule.conditions.of(evidence)
    measured = gate.rule.read_scores(scores, group)
    return (None, None) if isinstance(measured, Unmeasured) else (measured.score, measured.confidence)
