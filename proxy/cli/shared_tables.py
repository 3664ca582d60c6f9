"""Tables that several commands print: labels by the condition of passages, and ways to draw samples or to escalate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from proxy.cli.output import cell, escaped
from proxy.offline.report.formatting import count, number, percent, several

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.offline.evaluation.overrefusal import ConditionCounts, ExamplesComparison, Share
    from proxy.offline.report import Cascade, Strategy

_CONDITION_COLUMNS = (
    "n", "right", "wrong", "refused", "over-refusal", "unsafe answers", "F1 refusing", "F1 answering",
)  # fmt: skip
_WAY_COLUMNS = ("answered", "wrong of them", "no sample", "generations", "tokens")


def show_conditions(tallies: Mapping[str, ConditionCounts], console: Console | None = None) -> None:
    """Print what passages do to answers and refusals: a row for each condition and one for all."""
    console = console or Console(highlight=False)
    table = _table("context", _CONDITION_COLUMNS)
    for name, tally in tallies.items():
        if name == "all":
            table.add_section()
        counts = [tally.n(), tally.n(label="correct"), tally.n(label="incorrect"), tally.n(label="abstained")]
        table.add_row(
            cell(name),
            *(f"{count:,}" for count in counts),
            _share(tally.over_refusal),
            _share(tally.unsafe),
            _f1(tally.refusing["f1"]),
            _f1(tally.answering["f1"]),
        )
    console.print(table)
    console.print("over-refusal: refused with passages, among questions answered correctly without")
    console.print("unsafe: wrong with passages, among questions whose passages are insufficient")


def show_examples_effect(compared: ExamplesComparison, console: Console | None = None) -> None:
    """Print what worked examples change: the table of conditions with them and without."""
    console = console or Console(highlight=False)
    for words, tallies in (("with", compared.with_examples), ("without", compared.without)):
        console.print(f"\n{compared.n:,} answers {words} worked examples before the question")
        show_conditions(tallies, console)


def show_sampling(sampling: Mapping[str, Strategy], console: Console) -> None:
    """Print the results of each way to draw samples."""
    console.print("\nby when samples are drawn (sampling.wait of a route)")
    console.print(_ways("wait", sampling))


def show_cascade(cascade: Cascade, console: Console) -> None:
    """Print what each route of an escalation answers, and the escalation against each route alone."""
    first, second = cascade.stages
    escalated = several(second.reached, "request")
    console.print(
        escaped(
            f"of {several(cascade.n, 'request')} {first.policy} answers {count(first.right + first.wrong)}; of the "
            f"{escalated} that are escalated {second.policy} answers {count(second.right + second.wrong)}, "
            f"{count(second.wrong)} of them wrong"
        ),
        markup=False,
    )
    console.print(_ways("asking", cascade.ways))


def _ways(title: str, ways: Mapping[str, Strategy]) -> Table:
    table = _table(title, _WAY_COLUMNS)
    for name, way in ways.items():
        table.add_row(
            cell(name),
            percent(way.outcome.coverage),
            percent(way.outcome.risk),
            percent(way.settled),
            number(way.generations, 2),
            number(way.tokens, 0),
        )
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _share(found: Share) -> str:
    """Format a share with its counts."""
    if not found.n:
        return "-"
    return f"{100 * found.count / found.n:.0f} % ({found.count}/{found.n})"


def _f1(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
