"""When to stop sampling: once further samples cannot change the verdict, or do so with probability at most ε.

``settled`` is exact: it passes the least and the greatest score that the missing samples allow through the
policy's combination and calibrator, which never decrease. ``stops`` allows a probability of at most ε that all
samples together would have decided otherwise.
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
    """Return whether the answer passes whatever the missing samples are; None where they decide.

    ``evidence`` holds the samples drawn so far, of ``k`` in all. ``threshold`` in [0, 1] is the request's own.
    An answer with an unmeasured score is not settled. Raises GatingError where ``k`` is less than 1 or less
    than the number of samples drawn.
    """
    if k < max(1, len(evidence.samples)):
        raise GatingError(
            f"k: must be at least 1 and at least the {len(evidence.samples)} samples drawn, not {k}"
        )
    lows, highs = ends(gate, evidence, k)
    if passes(gate, lows, threshold, evidence):
        return True
    return False if passes(gate, highs, threshold, evidence) is False else None


def ends(
    gate: Gate, evidence: Evidence, k: int
) -> tuple[Sequence[float | Unmeasured], Sequence[float | Unmeasured]]:
    """Return the least and the greatest scores (n_scorers,) that the gate's scorers can reach with ``k`` samples."""
    lows, highs = zip(*(_ends(scorer, evidence, k) for scorer in scorers_of(gate)), strict=True)
    return lows, highs


def scorers_of(gate: Gate) -> tuple[Scorer, ...]:
    """Return the gate's scorers, in the order in which its rule combines them."""
    return (gate.rule.scorer,) if isinstance(gate.rule, Uncalibrated) else gate.rule.scorers


def passes(
    gate: Gate,
    scores: Sequence[float | Unmeasured],
    threshold: float | None,
    evidence: Evidence | None = None,
) -> bool | None:
    """Return whether an answer with ``scores`` (n_scorers,) passes; None where it is unmeasured.

    ``evidence`` determines the answer's condition where the policy has several.
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
    """Return the least and the greatest possible score; they are equal where samples do not matter."""
    found = scorer.bounds(evidence, k) if isinstance(scorer, SampleScorer) else scorer.score(evidence)
    return (found.low, found.high) if isinstance(found, tuple) else (found, found)


class Stop(NamedTuple):
    """The boundaries after a sample: at most ``fail`` agreeing means no, at least ``succeed`` means yes."""

    fail: int
    succeed: int


def stops(k: int, needed: int, level: float) -> tuple[Stop, ...]:
    """Return the stopping boundaries (k,) of a vote in which ``needed`` of ``k`` samples must agree.

    The samples come in random order, so of t agreeing samples the number among the first j is hypergeometric.
    Both errors (yes where the total is needed - 1, no where it is needed) have probability at most ``level`` in
    [0, 1) over all looks together; the error is smaller for every other total. Each look tests at one nominal
    level, as in Pocock (1977): the greatest whose exact error probability is within ``level``. At level 0 the
    vote stops only where no sample can change it. Raises GatingError on numbers out of range.
    """
    if not (1 <= needed <= k and 0.0 <= level < 1.0):
        raise GatingError(
            f"stops: 1 <= needed <= k and 0 <= level < 1 are required; got {needed}, {k} and {level}"
        )
    succeed = _boundary(k, needed - 1, level)
    # A "no" is a "yes" to disagreement: more than k - needed samples disagree.
    fail = _boundary(k, k - needed, level)
    return tuple(Stop(j - most, least) for j, (most, least) in enumerate(zip(fail, succeed, strict=True), 1))


def _boundary(k: int, total: int, level: float) -> list[int]:
    """Return the least count (k,) after each of k draws that rejects a total of at most ``total`` ones.

    The nominal level is the greatest whose exact error probability is within ``level``.
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
    """Return P(at least ``seen`` ones among ``j`` draws from ``k`` with ``total`` ones); exactly 0 if impossible."""
    ways = sum(comb(total, ones) * comb(k - total, j - ones) for ones in range(seen, min(j, total) + 1))
    return ways / comb(k, j)


def _crossing(k: int, total: int, boundary: Sequence[int]) -> float:
    """Return P(the count of ones reaches the boundary (k,) after any draw), when ``total`` of ``k`` are ones."""
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
