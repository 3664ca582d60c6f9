"""What samples and a stronger route settle, and what that costs, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from proxy.offline.report.words import count, number, percent, several

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from proxy.offline.report import Cascade, Way


def show_sampling(sampling: Mapping[str, Way], console: Console) -> None:
    """Each manner of drawing samples."""
    console.print("\nby how samples are drawn (sampling.wait of a route)")
    console.print(_ways("wait", sampling))


def show_cascade(cascade: Cascade, console: Console) -> None:
    """What is settled where, and the cascade against each route alone."""
    first, second = cascade.stages
    went_on = several(second.reached, "request")
    console.print(
        f"\nof {several(cascade.n, 'request')} {first.policy} answers {count(first.right + first.wrong)}; of "
        f"the {went_on} that go on {second.policy} answers {count(second.right + second.wrong)}, "
        f"{count(second.wrong)} of them wrong"
    )
    console.print(_ways("asking", cascade.ways))


def _ways(what: str, ways: Mapping[str, Way]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(what, no_wrap=True)
    for name in ("answered", "wrong of them", "no sample", "generations", "tokens"):
        table.add_column(name, justify="right")
    for name, way in ways.items():
        table.add_row(
            name,
            percent(way.outcome.coverage),
            percent(way.outcome.risk),
            percent(way.settled),
            number(way.generations, 2),
            number(way.tokens, 0),
        )
    return table
