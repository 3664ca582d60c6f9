"""The printed result of `idk tune`: splits, scorers, threshold, and figures on answers that were not used to fit."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gating.fingerprint import ANY_SYSTEM, COMBINATIONS, FIELDS, SYSTEM, described
from proxy.cli.output import cell, escaped

if TYPE_CHECKING:
    from gating.policy import Policy
    from gating.tuning import Figures, HeldOut, ScorerFigures, Tuned
    from gating.types import Certificate


def show(tuned: Tuned, console: Console | None = None) -> None:
    """Print the whole result."""
    console = console or Console(highlight=False)
    figures, policy = tuned.figures, tuned.policy
    names = escaped(" + ".join(scorer.name for scorer in policy.scorers))
    console.print()
    console.print(
        cell(policy.name, "bold").append(f": {names}, calibrated by {figures.calibrator}", style="not bold")
    )
    splits = ", ".join(f"{count:,} {name}" for name, count in figures.n.items() if count)
    console.print(f"split by question: {splits}\n")
    console.print(
        f"each scorer alone, on answers that the fit did not use (base rate {_percent(figures.base_rate)})"
    )
    console.print(_scorers(figures, {scorer.name for scorer in policy.scorers}))
    for line in (*_considered(figures, names), *_paying(figures)):
        console.print(line)
    console.print(_threshold(tuned))
    for line in _kinds_of_requests(policy):
        console.print(line)
    if figures.conditions:
        console.print(
            "\nby condition, each with its own calibrator and threshold; error on answers not used by the fit"
        )
        console.print(_conditions(figures))
    if figures.held_out is not None:
        n = figures.n[figures.held_out_from]
        used = (
            "neither the fit nor the threshold used"
            if figures.held_out_from == "test"
            else ("certify the threshold; the fit did not use them")
        )
        console.print(f"\non {n:,} answers that {used}")
        console.print(_held_out(figures, figures.held_out))


def _scorers(figures: Figures, chosen: set[str]) -> Table:
    """Return the table of single scorers, the chosen ones in bold, and of all chosen ones together."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("scorer")
    for name in ("n", "AUROC", "95 %", "Brier skill", "log loss"):
        table.add_column(name, justify="right")
    for name, scorer in figures.scorers.items():
        table.add_row(cell(name), *_cells(scorer), style="bold" if name in chosen else None)
    if len(chosen) > 1:
        table.add_section()
        table.add_row("together", *_cells(figures.policy), style="bold")
    return table


def _kinds_of_requests(policy: Policy) -> list[str]:
    """List the combinations of request fields that the labels had, if they had several."""
    listed = policy.fingerprint.get(COMBINATIONS, ())
    free = policy.fingerprint.get(FIELDS, {}).get(SYSTEM) == ANY_SYSTEM
    lines = ["the system prompts varied: the policy applies on routes with `prompt: any`"] if free else []
    if listed:
        shown = described(policy.fingerprint)
        lines.append("for the mix of requests that was labelled; other requests do not match:")
        lines += [f"  {escape(escaped(shown[f'requests {number}']))}" for number in range(1, len(listed) + 1)]
    return lines


def _considered(figures: Figures, taken: str) -> list[str]:
    """Say which combinations of scorers were compared."""
    if not figures.considered:
        return []
    losses = ", ".join(f"{name.replace('+', ' + ')} {loss:.3f}" for name, loss in figures.considered.items())
    return [
        f"log loss on the fit split, cheapest first: {escape(escaped(losses))}",
        f"chosen: {escape(taken)}, the cheapest within one standard error of the least",
    ]


def _paying(figures: Figures) -> list[str]:
    """Say whether the policy's scorers are worth more than a cheaper one."""
    cheaper = figures.cheaper
    if cheaper is None:
        return []
    name = escape(escaped(cheaper.scorer))
    if cheaper.gain is None or cheaper.error is None:
        return [f"too few test answers to tell whether it pays, compared with {name} alone"]
    gain = f"gain {cheaper.gain:+.3f} ± {cheaper.error:.3f} nats of log loss"
    if cheaper.pays:
        return [f"it pays: {name} alone costs less and does worse on the test split ({gain})"]
    reason = f"{name} alone costs less and is no worse on the test split ({gain})"
    return [f"[bold yellow]It does not pay[/]: {reason}; tune with --scorers {name}"]


def _cells(scorer: ScorerFigures) -> tuple[str, ...]:
    interval = scorer.auroc_interval
    return (
        f"{scorer.n:,}",
        _number(scorer.auroc),
        "" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}",
        _number(scorer.brier_skill),
        _number(scorer.log_loss),
    )


def _threshold(tuned: Tuned) -> str:
    """Describe the threshold and its certificate."""
    policy, choice = tuned.policy, tuned.choice
    lines = []
    if policy.threshold is not None:
        lines.append(f"answer at confidence >= {policy.threshold:.4g}")
    if policy.certificate is not None:
        return "\n".join([*lines, f"[bold green]Certified[/]: {summary(policy.certificate)}"])
    if "certify" in tuned.splits:
        lines.append("[bold yellow]No threshold is certified[/] for this target.")
        if choice.supported is not None:
            lines.append(f"The data support: {summary(choice.supported)}")
        if choice.labels_needed is not None:
            lines.append(f"About {choice.labels_needed:,} labels would be needed for the target.")
        else:
            lines.append("No number of labels is expected to reach the target with these scores.")
    return "\n".join(lines)


def _conditions(figures: Figures) -> Table:
    """Return the table of conditions: threshold, certificate, and figures on the test split."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("condition")
    for name in ("fitted on", "threshold", "certified", "coverage", "error", "always answering"):
        table.add_column(name, justify="right")
    for name, one in figures.conditions.items():
        gated = one.held_out
        table.add_row(
            cell(name),
            f"{one.n:,}",
            "none" if one.threshold is None else f"{one.threshold:.3g}",
            "no" if one.certificate is None else f"<= {_at_most(one.certificate.target_risk)}",
            "-" if gated is None else _percent(gated.coverage),
            "-" if gated is None else _percent(gated.risk),
            _percent(one.always.risk),
        )
    return table


def summary(certificate: Certificate) -> str:
    """Summarise a certificate by its target, which takes the choice of the threshold into account."""
    coverage = certificate.answered / certificate.total
    return (
        f"error <= {_at_most(certificate.target_risk)} with {_percent(1 - certificate.delta)} at coverage "
        f"{_percent(coverage)} ({certificate.errors} wrong of {certificate.answered} answered, "
        f"{certificate.total} labels)"
    )


def _held_out(figures: Figures, gated: HeldOut) -> Table:
    """Return the table of always answering against the gate, on the test split."""
    always = figures.always
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("always answer", justify="right")
    table.add_column("gated", justify="right", style="bold")
    for name in ("right", "wrong", "abstained"):
        table.add_row(
            '"I don\'t know."' if name == "abstained" else name,
            f"{getattr(always, name):,}",
            f"{getattr(gated, name):,}",
        )
    table.add_row("wrong among answers", _percent(always.risk), _percent(gated.risk))
    table.add_section()
    for target, score in gated.score.items():
        cost = float(target) / (1 - float(target))
        table.add_row(f"score, wrong costs {cost:.3g}", _signed(always.score[target]), _signed(score))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _at_most(share: float) -> str:
    """Format a certified share, rounded up so that it is never shown smaller than it is."""
    return f"{ceil(round(1000 * share, 6)) / 10:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
