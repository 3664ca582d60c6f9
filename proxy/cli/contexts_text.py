"""What passages do to answers and refusals, as a table for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.offline.evaluation.overrefusal import Compared, Share, Tally


def show(tallies: Mapping[str, Tally], console: Console | None = None) -> None:
    """Print it: a row for each condition and one for all."""
    console = console or Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("context", no_wrap=True)
    for name in (
        "n",
        "right",
        "wrong",
        "refused",
        "over-refusal",
        "unsafe answers",
        "F1 refusing",
        "F1 answering",
    ):
        table.add_column(name, justify="right")
    for name, tally in tallies.items():
        if name == "all":
            table.add_section()
        counts = [tally.n(), tally.n(label="correct"), tally.n(label="incorrect"), tally.n(label="abstained")]
        table.add_row(
            name,
            *(f"{count:,}" for count in counts),
            share(tally.over_refusal),
            share(tally.unsafe),
            _number(tally.refusing["f1"]),
            _number(tally.answering["f1"]),
        )
    console.print(table)
    console.print("over-refusal: refused with passages, of those right without")
    console.print("unsafe: wrong with passages, of those whose passages are insufficient")


def show_compared(compared: Compared, console: Console | None = None) -> None:
    """What worked examples change: the two tables, one after the other."""
    console = console or Console(highlight=False)
    for words, tallies in (("with", compared.with_examples), ("without", compared.without)):
        console.print(f"\n{compared.n:,} answers {words} the worked examples in front")
        show(tallies, console)


def share(found: Share) -> str:
    """A share with its counts."""
    if not found.n:
        return "-"
    return f"{100 * found.count / found.n:.0f} % ({found.count}/{found.n})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
