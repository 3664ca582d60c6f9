"""``idk report``: a policy on graded answers, as a page and as figures."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from gating import Policy
    from proxy.offline.report import Cascade, Manner, ReportFigures


def report(
    records: Annotated[
        Path, typer.Option("--records", help="Graded answers, as `idk evaluate` writes them.")
    ],
    policy: Annotated[Path, typer.Option("--policy", help="The policy, as `idk tune` writes it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the page, as HTML.")] = None,
    escalate_records: Annotated[
        Path | None,
        typer.Option(help="The same questions' records of a stronger route, asked where this one withholds."),
    ] = None,
    escalate_policy: Annotated[Path | None, typer.Option(help="The stronger route's policy.")] = None,
    wait: Annotated[
        str, typer.Option(help="How both routes draw samples: none, band or sequential, as sampling.wait.")
    ] = "none",
    sequential: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.5, help="Stop drawing by a test too that errs in at most this share."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Draw what a policy does on graded answers: one HTML file that fetches nothing."""
    import json

    from proxy import records as files
    from proxy.control.policies import load_policy
    from proxy.offline import report as pages

    if out is None and not as_json:
        raise ConfigError("report: give --out for the page, --json for the figures, or both")
    rows = (record for record, _ in files.lines(records, files.Record))
    loaded = load_policy(policy, "--policy")
    cascade = None
    if escalate_records is not None and escalate_policy is not None:
        stronger = load_policy(escalate_policy, "--escalate-policy")
        cascade = _cascade((records, loaded), (escalate_records, stronger), _manner(wait, sequential))
    elif escalate_records is not None or escalate_policy is not None:
        raise ConfigError("report: give --escalate-records and --escalate-policy together")
    figures = pages.figures_of(rows, loaded, pages.Source(records.name), level=sequential, cascade=cascade)
    if out is not None:
        files.write(out, pages.render(figures))
    if as_json:
        print(json.dumps(figures.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(figures, out)


def _manner(wait: str, level: float | None) -> Manner:
    from typing import get_args

    from gating.sampled import Wait
    from proxy.offline.report import Manner

    for known in get_args(Wait):
        if wait == known:
            return Manner(known, level or 0.0 if known == "sequential" else 0.0)
    raise ConfigError(f"report: --wait: {wait} is none of {', '.join(get_args(Wait))}")


def _cascade(first: tuple[Path, Policy], second: tuple[Path, Policy], manner: Manner) -> Cascade:
    """Each of the two is a file of records and the policy of its route."""
    from gating.types import GatingError
    from proxy import records as files
    from proxy.offline.report import cascade

    rows = [(record for record, _ in files.lines(path, files.Record)) for path, _ in (first, second)]
    try:
        return cascade(rows[0], first[1], rows[1], second[1], manner)
    except GatingError as exc:
        raise ConfigError(f"report: {first[0]} and {second[0]}: {exc}") from exc


def _show(figures: ReportFigures, out: Path | None) -> None:
    """The page in a few lines."""
    from rich.console import Console
    from rich.text import Text

    from proxy.offline.report.words import number, percent, several

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
    if figures.sampling:
        from proxy.cli.stages_text import show_sampling

        show_sampling(figures.sampling, console)
    if figures.cascade is not None:
        from proxy.cli.stages_text import show_cascade

        show_cascade(figures.cascade, console)
    console.print(Text(f"written to {out}"))
