"""The command ``idk report``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import cell, escaped_json, print_line
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from gating import Policy
    from proxy.offline.report import Cascade, ReportFigures, SamplingMode


def report(
    records: Annotated[
        Path, typer.Option("--records", help="Graded answers, as `idk evaluate` writes them.")
    ],
    policy: Annotated[Path, typer.Option("--policy", help="The policy, as `idk tune` writes it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the HTML page.")] = None,
    escalate_records: Annotated[
        Path | None,
        typer.Option(
            help="Records of the same questions by a stronger route, which answers where this one withholds."
        ),
    ] = None,
    escalate_policy: Annotated[Path | None, typer.Option(help="The policy of the stronger route.")] = None,
    wait: Annotated[
        str, typer.Option(help="When both routes draw samples (sampling.wait): none, band or sequential.")
    ] = "none",
    sequential: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.5,
            help="Also stop drawing samples by a test with at most this error rate (sampling.level).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Report what a policy does on graded answers, as one HTML file without external resources."""
    import json

    from proxy import records as files
    from proxy.control.policies import load_policy
    from proxy.offline import report as pages

    if out is None and not as_json:
        raise ConfigError(
            "report: nothing to write; give --out for the page, --json for the figures, or both"
        )
    files.check_outputs(
        {"--out": out},
        {
            "--records": records,
            "--policy": policy,
            "--escalate-records": escalate_records,
            "--escalate-policy": escalate_policy,
        },
    )
    rows = (record for record, _ in files.lines(records, files.Record))
    loaded = load_policy(policy, "--policy")
    cascade = None
    if escalate_records is not None and escalate_policy is not None:
        stronger = load_policy(escalate_policy, "--escalate-policy")
        cascade = _cascade((records, loaded), (escalate_records, stronger), _manner(wait, sequential))
    elif escalate_records is not None or escalate_policy is not None:
        raise ConfigError("report: --escalate-records and --escalate-policy must be given together")
    figures = pages.figures_of(rows, loaded, pages.Source(records.name), level=sequential, cascade=cascade)
    if out is not None:
        files.write(out, pages.render(figures))
    if as_json:
        print(escaped_json(json.dumps(figures.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)))
    else:
        _show(figures, out)


def _manner(wait: str, level: float | None) -> SamplingMode:
    from typing import get_args

    from gating.sampled import Wait
    from proxy.offline.report import SamplingMode

    for known in get_args(Wait):
        if wait == known:
            return SamplingMode(known, level or 0.0 if known == "sequential" else 0.0)
    raise ConfigError(f"report: --wait: {wait!r} is not one of its values; use {', '.join(get_args(Wait))}")


def _cascade(first: tuple[Path, Policy], second: tuple[Path, Policy], manner: SamplingMode) -> Cascade:
    """Return the figures of two routes one after the other, each with a file of records and a policy."""
    from gating.types import GatingError
    from proxy import records as files
    from proxy.offline.report import cascade

    rows = [(record for record, _ in files.lines(path, files.Record)) for path, _ in (first, second)]
    try:
        return cascade(rows[0], first[1], rows[1], second[1], manner)
    except GatingError as exc:
        raise ConfigError(f"report: {first[0]} and {second[0]}: {exc}") from exc


def _show(figures: ReportFigures, out: Path | None) -> None:
    """Print the main figures of the page."""
    from rich.console import Console

    from proxy.offline.report.formatting import number, percent, several

    console = Console(highlight=False)
    console.print()
    console.print(
        cell(figures.policy.name, "bold").append(f" on {several(figures.n, 'answer')}", style="not bold")
    )
    gated, always, quality = figures.gated, figures.always, figures.quality
    if gated is None:
        console.print("the policy has no threshold")
    else:
        console.print(f"answered {percent(gated.coverage)}, of which wrong {percent(gated.risk)}")
    console.print(f"without the gate: wrong {percent(always.risk)}")
    console.print(f"AUROC {number(quality.auroc)}, Brier skill {number(quality.brier_skill)}")
    if figures.contradicted:
        console.print("[bold yellow]These answers contradict the certificate.[/]")
    if figures.unlike:
        console.print(f"[yellow]{several(figures.unlike, 'record')} without the policy's fingerprint[/]")
    if figures.sampling:
        from proxy.cli.shared_tables import show_sampling

        show_sampling(figures.sampling, console)
    if figures.cascade is not None:
        from proxy.cli.shared_tables import show_cascade

        show_cascade(figures.cascade, console)
    print_line(f"written to {out}")
