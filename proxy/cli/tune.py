"""The command ``idk tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import escaped_json
from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gating.tuning import Goal, Tuned
    from proxy.offline.evaluation.overrefusal import ExamplesComparison
    from proxy.offline.report import ReportFigures, Strategy

Records = Annotated[Path, typer.Option("--records", help="Graded answers, as `idk evaluate` writes them.")]


def tune(
    records: Records,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the policy.")],
    target_risk: Annotated[
        float | None,
        typer.Option(help="Certify that at most this share of the answers is wrong. [default: 0.05]"),
    ] = None,
    delta: Annotated[float, typer.Option(help="The certificate holds with probability 1 - delta.")] = 0.1,
    wrong_cost: Annotated[
        float | None, typer.Option(help="Cost of a wrong answer, in units of the value of a right one.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Answer at this confidence or more.")] = None,
    scorers: Annotated[
        str | None,
        typer.Option(
            help="Scorers to combine, separated by commas; auto: the cheapest combination that is no worse than the "
            "best (samples cost more than p_true, and p_true more than logprobs). [default: the best single scorer, "
            "the cheapest of equally good ones]"
        ),
    ] = None,
    calibrator: Annotated[
        str,
        typer.Option(
            help="The calibrator: temperature, platt, beta, histogram, isotonic, venn_abers, or auto."
        ),
    ] = "auto",
    conditions: Annotated[
        str | None,
        typer.Option(
            help="What divides answers into conditions, if records have passages: context (with or without passages), "
            "passages (whether the passages are about the question), contrast (whether the answer agrees with the "
            "answer without passages, which costs a further request). [default: context]"
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Records of the same questions without the route's worked examples, to compare with."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write an HTML report.")] = None,
    sequential: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.5,
            help="If the policy reads samples: also report what a test with at most this error rate saves, which stops "
            "drawing them early (sampling.level of a route).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random splits.")] = 0,
    name: Annotated[str | None, typer.Option(help="The policy's name. [default: the name of --out]")] = None,
    allow_estimate: Annotated[
        bool,
        typer.Option(
            "--allow-estimate", help="If no threshold can be certified, write a policy with an estimated one."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Fit a policy on graded answers, and report what it does on answers that were not used to fit it."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from gating import tuning
    from gating.types import GatingError
    from proxy import records as files
    from proxy.cli import tune_output

    goal = _goal(target_risk, delta, wrong_cost, threshold)
    files.check_outputs({"--out": out, "--report": report}, {"--records": records, "--examples": examples})
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
        ways = {name: asdict(way) for name, way in sampling.items()}
        print(escaped_json(_json(tuned.to_dict() | more | {"sampling": ways})))
    else:
        tune_output.show(tuned)
        if sampling:
            from rich.console import Console

            from proxy.cli.shared_tables import show_sampling

            show_sampling(sampling, Console(highlight=False))
        if compared is not None:
            from proxy.cli.shared_tables import show_examples_effect

            show_examples_effect(compared)
    if report is not None and page is not None:
        from proxy.offline.report import render

        files.write(report, render(page))
    if isinstance(goal, tuning.TargetRisk) and tuned.choice.certificate is None and not allow_estimate:
        raise RunError(f"no threshold is certified: {_advice(tuned)}")
    files.write(out, _json(tuned.policy.to_dict()) + "\n", private=False)


def _page(records: Path, tuned: Tuned, level: float | None) -> ReportFigures:
    """Return the figures of the page, which include those of ``_sampling``: the answers are read once for both."""
    from proxy.offline.report import figures_of_tuned

    return figures_of_tuned(records, tuned, level)


def _sampling(records: Path, tuned: Tuned, level: float | None) -> Mapping[str, Strategy]:
    """Return the results of each way to draw samples; nothing where the policy reads none."""
    if "samples" not in tuned.policy.needs:
        return {}
    from proxy.offline.report import sampling_of_tuned

    return sampling_of_tuned(records, tuned, level)


def _compared(records: Path, without: Path) -> ExamplesComparison:
    """Compare answers with and without worked examples, on the questions and conditions that both files have."""
    from proxy.offline.evaluation.overrefusal import compare_examples

    return compare_examples(records, without)


def _goal(target_risk: float | None, delta: float, wrong_cost: float | None, threshold: float | None) -> Goal:
    from gating import tuning
    from gating.types import GatingError

    if sum(value is not None for value in (target_risk, wrong_cost, threshold)) > 1:
        raise ConfigError(
            "tune: --target-risk, --wrong-cost and --threshold exclude one another; give one of them"
        )
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
        raise ConfigError("tune: --scorers names no scorer; separate names by commas, as in a,b")
    return names


def _advice(tuned: Tuned) -> str:
    """Say what to do where no threshold passed."""
    needed = tuned.choice.labels_needed
    more = "" if needed is None else f"collect about {needed:,} labels, "
    return (
        f"{more}allow a higher --target-risk, or take an estimate with --allow-estimate; no policy is written"
    )


def _json(values: object) -> str:
    import json

    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
