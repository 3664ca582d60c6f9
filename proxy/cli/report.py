"""``idk report``: a policy on graded answers, as a page and as figures."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from proxy.report import ReportFigures


def report(
    records: Annotated[
        Path, typer.Option("--records", help="Graded answers, as `idk evaluate` writes them.")
    ],
    policy: Annotated[Path, typer.Option("--policy", help="The policy, as `idk tune` writes it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the page, as HTML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Draw what a policy does on graded answers: one HTML file that fetches nothing."""
    import json

    from proxy import records as files
    from proxy import report as pages
    from proxy.policies import load_policy

    if out is None and not as_json:
        raise ConfigError("report: give --out for the page, --json for the figures, or both")
    rows = (record for record, _ in files.lines(records, files.Record))
    figures = pages.figures_of(rows, load_policy(policy, "--policy"), pages.Source(records.name))
    if out is not None:
        files.write(out, pages.render(figures))
    if as_json:
        print(json.dumps(figures.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(figures, out)


def _show(figures: ReportFigures, out: Path | None) -> None:
    """The page in a few lines."""
    from rich.console import Console
    from rich.text import Text

    from proxy.report.words import number, percent, several

    console = Console(highlight=False)
    name = figures.policy.name
    console.print(
        Text(f"\n{name}", style="bold").append(f" on {several(figures.n, 'answer')}", style="not bold")
    )
    gated, always, quality = figures.gated, figures.always, figures.quality
    if gated is None:
        console.print("no threshold is chosen")
    else:
        console.print(f"answers {percent(gated.coverage)}, wrong {percent(gated.risk)} of them")
    console.print(f"answering everything: wrong {percent(always.risk)}")
    console.print(f"AUROC {number(quality.auroc)}, Brier skill {number(quality.brier_skill)}")
    if figures.contradicted:
        console.print("[bold yellow]These answers speak against the certificate.[/]")
    if figures.unlike:
        console.print(f"[yellow]{several(figures.unlike, 'record')} without the policy's fingerprint[/]")
    console.print(Text(f"written to {out}"))
