"""When to stop sampling: the samples to come can no longer change the verdict, or hardly will.

``settled`` is certain: it puts the least and the greatest score that the samples to come allow through the very
combination and calibrator that decide, none of which ever decreases. ``stops`` accepts a chance of at most ε
that all the samples together would have decided otherwise.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, NamedTuple

from gating.gate import Uncalibrated
from gating.scorers import SampleScorer
from gating.types import GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.gate import Gate
    from gating.scorers import Scorer
    from gating.types import Evidence


def settled(gate: Gate, evidence: Evidence, k: int, *, threshold: float | None = None) -> bool | None:
    """Whether the answer passes whatever samples are to come: True, False, or None where they decide.

    ``evidence`` holds the samples that have come, of ``k`` in all; before the first, this is the band of
    answers for which samples are worth their price. ``threshold`` in [0, 1] is the request's own. Where
    something is unmeasured nothing is settled. Raises GatingError where ``k`` is less than 1 or than those.
    """
    if k < max(1, len(evidence.samples)):
        raise GatingError(f"k: must be at least 1 and count the {len(evidence.samples)} samples, not {k}")
    lows, highs = ends(gate, evidence, k)
    if passes(gate, lows, threshold, evidence):
        return True
    return False if passes(gate, highs, threshold, evidence) is False else None


def ends(
    gate: Gate, evidence: Evidence, k: int
) -> tuple[Sequence[float | Unmeasured], Sequence[float | Unmeasured]]:
    """The least and the greatest scores (n,) that the gate's scorers can come to when there are ``k`` samples."""
    lows, highs = zip(*(_ends(scorer, evidence, k) for scorer in scorers_of(gate)), strict=True)
    return lows, highs


def scorers_of(gate: Gate) -> tuple[Scorer, ...]:
    """What the gate reads, in the order that its rule joins them."""
    return (gate.rule.scorer,) if isinstance(gate.rule, Uncalibrated) else gate.rule.scorers


def passes(
    gate: Gate,
    scores: Sequence[float | Unmeasured],
    threshold: float | None,
    evidence: Evidence | None = None,
) -> bool | None:
    """Whether an answer of which the gate's scorers said ``scores`` (n,) passes; None where it is unmeasured.

    ``evidence`` tells its condition, where the policy has several.
    """
    if isinstance(gate.rule, Uncalibrated):
        (score,) = scores
        least = gate.rule.score_threshold
        return None if isinstance(score, Unmeasured) or least is None else score >= least
    limit, group = gate.limit if threshold is None else threshold, None
    if evidence is not None and gate.rule.conditions is not None:
        group = gate.rule.conditions.of(evidence)
        limit = gate.limit_for(evidence) if threshold is None else threshold
    measured = gate.rule.read_scores(scores, group)
    return None if isinstance(measured, Unmeasured) or limit is None else measured.confidence >= limit


def _ends(scorer: Scorer, evidence: Evidence, k: int) -> tuple[float | Unmeasured, float | Unmeasured]:
    """The least and the greatest score that there can be; one and the same where samples change nothing."""
    found = scorer.bounds(evidence, k) if isinstance(scorer, SampleScorer) else scorer.score(evidence)
    return (found.low, found.high) if isinstance(found, tuple) else (found, found)


class Stop(NamedTuple):
    """After a sample: at most ``fail`` agreeing stop with a no, at least ``succeed`` with a yes."""

    fail: int
    succeed: int


def stops(k: int, needed: int, level: float) -> tuple[Stop, ...]:
    """When to stop counting votes (k,), where ``needed`` of all ``k`` samples must agree for an answer to pass.

    The k samples come in an order that says nothing of what they say, so of a total of t agreeing ones those
    among the first j follow the hypergeometric law. Both errors, a yes where the total is needed - 1 and a no
    where it is needed, have probability at most ``level`` in [0, 1) over all looks together; every other total
    errs less. Each look tests at one nominal level, as in Pocock (1977), here the greatest whose exact
    probability to err is within ``level``. At level 0 it stops where nothing can change, and never earlier.
    Raises GatingError on numbers out of range.
    """
    if not (1 <= needed <= k and 0.0 <= level < 1.0):
        raise GatingError(
            f"stops: 1 <= needed <= k and 0 <= level < 1 must hold, not {needed}, {k} and {level}"
        )
    succeed = _boundary(k, needed - 1, level)
    # "no" is "yes" to disagreement: of k - needed disagreeing ones too many were seen.
    fail = _boundary(k, k - needed, level)
    return tuple(Stop(j - most, least) for j, (most, least) in enumerate(zip(fail, succeed, strict=True), 1))


def _boundary(k: int, total: int, level: float) -> list[int]:
    """The least count (k,) after each of k draws that refutes a total of no more than ``total`` ones.

    Of the nominal levels that make a difference, the greatest with an exact probability within ``level``.
    """
    tails = [[_tail(k, total, j, seen) for seen in range(j + 2)] for j in range(1, k + 1)]
    within = [_first_within(row, 0.0) for row in tails]
    for nominal in sorted({tail for row in tails for tail in row if tail <= level}):
        candidate = [_first_within(row, nominal) for row in tails]
        if _crossing(k, total, candidate) > level:
            break
        within = candidate
    return within


def _first_within(row: Sequence[float], nominal: float) -> int:
    return next(seen for seen, tail in enumerate(row) if tail <= nominal)


def _tail(k: int, total: int, j: int, seen: int) -> float:
    """P(at least ``seen`` ones among ``j`` drawn of ``k`` that hold ``total``): exactly 0 where it cannot be."""
    ways = sum(comb(total, ones) * comb(k - total, j - ones) for ones in range(seen, min(j, total) + 1))
    return ways / comb(k, j)


def _crossing(k: int, total: int, boundary: Sequence[int]) -> float:
    """P(the count of ones reaches the boundary (k,) after any draw), when ``total`` of ``k`` are ones."""
    below, crossed = {0: 1.0}, 0.0
    for j, least in enumerate(boundary):
        after: dict[int, float] = {}
        for ones, probability in below.items():
            one = (total - ones) / (k - j)
            after[ones + 1] = after.get(ones + 1, 0.0) + probability * one
            after[ones] = after.get(ones, 0.0) + probability * (1.0 - one)
        crossed += sum(probability for ones, probability in after.items() if ones >= least)
        below = {ones: probability for ones, probability in after.items() if ones < least}
    return crossed
