"""Comparison of logprobs, samples and both, each with a separate policy, on the same answers of the second half."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gating import Gate, tuning
from gating.grading import decided
from gating.types import GatingError
from proxy import records
from proxy.demo.client import GradedAnswer
from proxy.demo.counts import TARGETS, count
from proxy.demo.demo_proxy import WRONG_COST, DemoSetup
from proxy.demo.fit import ask
from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proxy.demo.questions import Question

#: The scorers that read each kind of evidence.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "logprobs": ("mean_logprob",),
    "samples": ("agreement",),
    "both": ("mean_logprob", "agreement"),
}


def compare_sources(
    setup: DemoSetup,
    questions: Sequence[Question],
    *,
    concurrency: int,
    seed: int,
    on_answer: Callable[[str], None],
) -> dict[str, list[GradedAnswer]]:
    """Ask the questions once and return the verdicts of a gate for each kind of evidence, fitted on the first half.

    Raises RunError where the records of the first half cannot fit a policy.
    """
    path = setup.folder / "second.jsonl"
    ask(setup, questions, path, concurrency, on_answer)
    found = [record for record, _ in records.lines(path, records.Record)]
    by_id = {question.id: question for question in questions}
    gates = {name: _gate(setup.records, scorers, seed) for name, scorers in SOURCES.items()}
    return {
        name: [_asked(by_id[record.id], record, gate) for record in found] for name, gate in gates.items()
    }


def _gate(path: Path, scorers: tuple[str, ...], seed: int) -> Gate:
    graded, _ = records.graded(path)
    try:
        tuned = tuning.tune(graded, tuning.WrongCost(WRONG_COST), scorers=scorers, seed=seed)
    except GatingError as exc:
        raise RunError(f"demo: {exc}; ask more with --questions, or another --model") from exc
    return Gate(tuned.policy)


def _asked(question: Question, record: records.Record, gate: Gate) -> GradedAnswer:
    decision = gate.decide(record.evidence())
    return GradedAnswer(
        question, record.answer, decided(record.label), decision.confidence, decision.decision
    )


def scores_by_source(found: Mapping[str, Sequence[GradedAnswer]]) -> dict[str, dict[str, float]]:
    """Return the score of each kind of evidence at each target."""
    return {
        name: {f"{target:g}": count(asked, target).score(target) for target in TARGETS}
        for name, asked in found.items()
    }


def verdict(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Say whether both kinds together beat each alone at every target."""
    both = scores["both"]
    better_alone = [
        f"{name} at {target}"
        for target in both
        for name in ("logprobs", "samples")
        if scores[name][target] >= both[target]
    ]
    if not better_alone:
        return "Both together beat each alone at every target."
    return f"Both together do not beat each alone: {', '.join(better_alone)} score as much or more."
