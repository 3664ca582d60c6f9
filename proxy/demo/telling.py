"""What the demonstration shows: a handful of answers with their verdicts, and one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from proxy.demo.tally import TARGETS, Tally, separation, tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from proxy.demo.asked import Asked

_MARK = {"correct": "[green]right[/]", "incorrect": "[red]wrong[/]", "abstained": "[dim]declines[/]"}


def show_examples(console: Console, pairs: Sequence[tuple[Asked, Asked]]) -> None:
    """The model's own answer beside what an app gets through the gate; a pair is of one question."""
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


def show_table(console: Console, asked: Sequence[Asked]) -> None:
    """Always answering against the gate at each target."""
    always, gated = tally(asked), [tally(asked, target) for target in TARGETS]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=80)
    table.add_column("")
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
    console.print(table)


def figures(asked: Sequence[Asked], examples: Sequence[tuple[Asked, Asked]]) -> dict[str, Any]:
    """The same as plain JSON values."""
    always = tally(asked)
    found = separation(asked)
    return {
        "n": len(asked),
        "auroc": None if found is None else found[0],
        "auroc_interval": None if found is None else list(found[1]),
        "always": _values(always) | {"score": {f"{t:g}": always.score(t) for t in TARGETS}},
        "gated": {f"{t:g}": _values(tally(asked, t)) | {"score": tally(asked, t).score(t)} for t in TARGETS},
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


def _values(counts: Tally) -> dict[str, Any]:
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
