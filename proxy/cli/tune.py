"""``idk tune``: from graded answers to a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gating.tuning import Goal, Tuned
    from proxy.offline.evaluation.overrefusal import Compared
    from proxy.offline.report import ReportFigures, Way

Records = Annotated[Path, typer.Option("--records", help="Graded answers, as `idk evaluate` writes them.")]


def tune(
    records: Records,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the policy.")],
    target_risk: Annotated[
        float | None,
        typer.Option(help="At most this share wrong among the answers, certified. [default: 0.05]"),
    ] = None,
    delta: Annotated[float, typer.Option(help="The certificate holds with probability 1 - delta.")] = 0.1,
    wrong_cost: Annotated[
        float | None, typer.Option(help="A wrong answer costs as much as so many right ones are worth.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Answer from this confidence on.")] = None,
    scorers: Annotated[
        str | None,
        typer.Option(
            help="Names to combine, as a,b; auto: the cheapest that are no worse than the best, samples costing "
            "more than p_true and that more than logprobs. [default: the best single one that costs least]"
        ),
    ] = None,
    calibrator: Annotated[str, typer.Option(help="A calibrator's name, or auto.")] = "auto",
    conditions: Annotated[
        str | None,
        typer.Option(
            help="How answers with passages are told apart, where records say their condition: context (with or "
            "without), passages (whether these speak of what is asked), contrast (agreement with the answer without "
            "them, which is asked for live). [default: context]"
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="The same questions' records made without the route's worked examples, to compare."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Where to draw what it does, as HTML.")] = None,
    sequential: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.5,
            help="Where the policy reads samples: what it saves to stop drawing them by a test that errs in at most "
            "this share (sampling.level of a route).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
    name: Annotated[str | None, typer.Option(help="The policy's name. [default: the file's]")] = None,
    allow_estimate: Annotated[
        bool, typer.Option("--allow-estimate", help="Where nothing can be certified, take what looks right.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Fit a policy on graded answers and say what it does on answers that it did not see."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from gating import tuning
    from gating.types import GatingError
    from proxy import records as files
    from proxy.cli import tuned_text

    goal = _goal(target_risk, delta, wrong_cost, threshold)
    graded, fingerprint = files.graded(records)
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        tuned = tuning.tune(
            graded,
            goal,
            scorers=None if scorers is None else _names(scorers),
            calibrator=calibrator,
            seed=seed,
            allow_estimate=allow_estimate,
            provenance=tuning.Provenance(name or out.stem, fingerprint, created),
            by=conditions,
        )
    except GatingError as exc:
        raise RunError(f"{records}: {exc}") from exc
    compared = None if examples is None else _compared(records, examples)
    page = None if report is None else _page(records, tuned, sequential)
    sampling = _sampling(records, tuned, sequential) if page is None else page.sampling
    if as_json:
        more = {} if compared is None else {"examples": compared.to_dict()}
        print(
            _json(
                tuned.to_dict() | more | {"sampling": {name: asdict(way) for name, way in sampling.items()}}
            )
        )
    else:
        tuned_text.show(tuned)
        if sampling:
            from rich.console import Console

            from proxy.cli.stages_text import show_sampling

            show_sampling(sampling, Console(highlight=False))
        if compared is not None:
            from proxy.cli.contexts_text import show_compared

            show_compared(compared)
    if report is not None and page is not None:
        from proxy.offline.report import render

        files.write(report, render(page))
    if isinstance(goal, tuning.TargetRisk) and tuned.choice.certificate is None and not allow_estimate:
        raise RunError(f"no threshold is certified: {_instead(tuned)}")
    files.write(out, _json(tuned.policy.to_dict()) + "\n")


def _page(records: Path, tuned: Tuned, level: float | None) -> ReportFigures:
    """What the page shows, how samples are drawn included: the answers are gone through once for both."""
    from proxy.offline.report import figures_of_tuned

    return figures_of_tuned(records, tuned, level)


def _sampling(records: Path, tuned: Tuned, level: float | None) -> Mapping[str, Way]:
    """What each manner of drawing samples does, where the policy reads any."""
    if "samples" not in tuned.policy.needs:
        return {}
    from proxy.offline.report import sampling_of_tuned

    return sampling_of_tuned(records, tuned, level)


def _compared(records: Path, without: Path) -> Compared:
    """What worked examples change, on the questions and conditions that both files have."""
    from proxy.offline.evaluation.overrefusal import compared

    return compared(records, without)


def _goal(target_risk: float | None, delta: float, wrong_cost: float | None, threshold: float | None) -> Goal:
    from gating import tuning
    from gating.types import GatingError

    if sum(value is not None for value in (target_risk, wrong_cost, threshold)) > 1:
        raise ConfigError("tune: give one of --target-risk, --wrong-cost and --threshold")
    try:
        if wrong_cost is not None:
            return tuning.WrongCost(wrong_cost)
        if threshold is not None:
            return tuning.FixedThreshold(threshold)
        return tuning.TargetRisk(0.05 if target_risk is None else target_risk, delta)
    except GatingError as exc:
        raise ConfigError(f"tune: {exc}") from exc


def _names(scorers: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in scorers.split(",")))))
    if not names:
        raise ConfigError("tune: --scorers names none; write them as a,b")
    return names


def _instead(tuned: Tuned) -> str:
    """What to do where nothing passed."""
    needed = tuned.choice.labels_needed
    more = "" if needed is None else f"bring about {needed:,} labels, "
    return (
        f"{more}allow a higher --target-risk, or take an estimate with --allow-estimate; no policy is written"
    )


def _json(values: object) -> str:
    import json

    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
