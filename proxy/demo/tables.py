"""The printed results of the demonstration: examples with their verdicts, and the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from proxy.demo.counts import TARGETS, Counts, count, gain, separation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from gating.tuning import Tuned
    from proxy.demo.client import GradedAnswer

_MARK = {"correct": "[green]right[/]", "incorrect": "[red]wrong[/]", "abstained": "[dim]declines[/]"}


def show_examples(console: Console, pairs: Sequence[tuple[GradedAnswer, GradedAnswer]]) -> None:
    """Print the model's answers beside what an app gets through the gate; each pair is one question."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=80)
    table.add_column("question", ratio=5)
    table.add_column("the model says", ratio=3)
    table.add_column("", no_wrap=True)
    table.add_column("conf.", justify="right", no_wrap=True)
    table.add_column("the app gets", ratio=3)
    for alone, gated in pairs:
        confidence = "-" if gated.confidence is None else f"{gated.confidence:.2f}"
        got = escape(_short(gated.answer)) if gated.decision == "answer" else "[yellow]I don't know.[/]"
        question, answer = escape(_short(alone.question.question, 60)), escape(_short(alone.answer))
        table.add_row(question, answer, _MARK[alone.label], confidence, got)
    console.print(table)


def show_table(console: Console, asked: Sequence[GradedAnswer]) -> None:
    """Print always answering against the gate at each target."""
    always, gated = count(asked), [count(asked, target) for target in TARGETS]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=80)
    table.add_column("", no_wrap=True)
    table.add_column("always", justify="right")
    for target in TARGETS:
        table.add_column(f"gated at {target:g}", justify="right", style="bold")
    columns = [always, *gated]
    table.add_row("right", *(str(one.right) for one in columns))
    table.add_row("wrong", *(str(one.wrong) for one in columns))
    table.add_row("I don't know", *(str(one.abstained) for one in columns))
    table.add_row("error among answered", *(_percent(one.error) for one in columns))
    table.add_section()
    for place, target in enumerate(TARGETS):
        cells = [f"{always.score(target):+.2f}", *[""] * len(TARGETS)]
        cells[place + 1] = f"{gated[place].score(target):+.2f}"
        table.add_row(f"score, wrong costs {target / (1 - target):.0f}", *cells)
    table.add_section()
    gains = [gain(asked, target) for target in TARGETS]
    table.add_row("gained by gating", "", *(f"{value:+.2f}" for value, _ in gains))
    table.add_row("95 % interval", "", *(f"{low:.2f} to {high:.2f}" for _, (low, high) in gains))
    console.print(table)


def show_sources(
    console: Console, found: Mapping[str, Sequence[GradedAnswer]], scores: Mapping[str, Mapping[str, float]]
) -> None:
    """Print the score at each target and the AUROC, for always answering and for each kind of evidence."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=80)
    table.add_column("score", no_wrap=True)
    for target in TARGETS:
        table.add_column(f"at {target:g}", justify="right")
    table.add_column("AUROC", justify="right")
    always = count(next(iter(found.values())))
    table.add_row("always answering", *(f"{always.score(target):+.2f}" for target in TARGETS), "")
    for name, asked in found.items():
        area = separation(asked)
        table.add_row(
            name,
            *(f"{score:+.2f}" for score in scores[name].values()),
            "-" if area is None else f"{area[0]:.2f}",
        )
    console.print(table)


def fitted(tuned: Tuned) -> str:
    """Describe the fitted policy in one line."""
    policy, n = tuned.policy, tuned.figures.n
    names = " + ".join(scorer.name for scorer in policy.scorers)
    return f"Policy: {names}, calibrated by {policy.calibrator.kind} on {n['fit']} answers."


def figures(
    tuned: Tuned, asked: Sequence[GradedAnswer], examples: Sequence[tuple[GradedAnswer, GradedAnswer]]
) -> dict[str, Any]:
    """Return the results as JSON values."""
    policy = tuned.policy
    always = count(asked)
    found = separation(asked)
    return {
        "policy": {
            "scorers": [scorer.name for scorer in policy.scorers],
            "calibrator": policy.calibrator.kind,
            "fitted_on": tuned.figures.n["fit"],
            "threshold": policy.threshold,
        },
        "n": len(asked),
        "auroc": None if found is None else found[0],
        "auroc_interval": None if found is None else list(found[1]),
        "always": _values(always) | {"score": {f"{t:g}": always.score(t) for t in TARGETS}},
        "gated": {f"{t:g}": _gated(asked, t) for t in TARGETS},
        "examples": [
            {
                "question": alone.question.question,
                "model": alone.answer,
                "label": alone.label,
                "confidence": gated.confidence,
                "decision": gated.decision,
                "app": gated.answer,
            }
            for alone, gated in examples
        ],
    }


def _gated(asked: Sequence[GradedAnswer], target: float) -> dict[str, Any]:
    counts, (gained, interval) = count(asked, target), gain(asked, target)
    return _values(counts) | {
        "score": counts.score(target),
        "gain": gained,
        "gain_interval": list(interval),
    }


def _values(counts: Counts) -> dict[str, Any]:
    return {
        "right": counts.right,
        "wrong": counts.wrong,
        "abstained": counts.abstained,
        "error": counts.error,
    }


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _short(text: str, most: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
