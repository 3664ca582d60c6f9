"""Logprobs, samples and both, each with a policy of its own, on the same answers of the second half."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gating import Gate, tuning
from gating.types import GatingError
from proxy import records
from proxy.demo.asked import Asked
from proxy.demo.fit import ask
from proxy.demo.setting import WRONG_COST, Setting
from proxy.demo.tally import TARGETS, tally
from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proxy.demo.questions import Question

#: The scorers of each source.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "logprobs": ("mean_logprob",),
    "samples": ("agreement",),
    "both": ("mean_logprob", "agreement"),
}


def compared(
    setting: Setting,
    questions: Sequence[Question],
    *,
    concurrency: int,
    seed: int,
    told: Callable[[str], None],
) -> dict[str, list[Asked]]:
    """What the gate of each source makes of one and the same answers; fitted on the first half's records.

    Raises RunError where those teach nothing.
    """
    path = setting.folder / "second.jsonl"
    ask(setting, questions, path, concurrency, told)
    found = [record for record, _ in records.lines(path, records.Record)]
    by_id = {question.id: question for question in questions}
    gates = {name: _gate(setting.records, scorers, seed) for name, scorers in SOURCES.items()}
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


def _asked(question: Question, record: records.Record, gate: Gate) -> Asked:
    decided = gate.decide(record.evidence())
    return Asked(question, record.answer, record.label, decided.confidence, decided.decision)


def worth(found: Mapping[str, Sequence[Asked]]) -> dict[str, dict[str, float]]:
    """The score of each source at each target."""
    return {
        name: {f"{target:g}": tally(asked, target).score(target) for target in TARGETS}
        for name, asked in found.items()
    }


def verdict(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Whether both beat either alone at every target, in words."""
    both = scores["both"]
    lost = [
        f"{name} at {target}"
        for target in both
        for name in ("logprobs", "samples")
        if scores[name][target] >= both[target]
    ]
    if not lost:
        return "Both beat either alone at every target."
    return f"Both do not beat either alone: {', '.join(lost)} is worth as much or more."
