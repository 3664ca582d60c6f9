"""The command ``idk evaluate``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import print_error, print_json, print_line
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.offline.evaluation import Asker, Run
    from proxy.offline.evaluation.overrefusal import ConditionCounts
    from proxy.records import Condition, Question


def evaluate(
    route: Annotated[str, typer.Option(help="The route whose upstream answers.")],
    data: Annotated[Path, typer.Option("--data", help="The questions: one JSON object a line.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write the records; an interrupted run is continued.")
    ],
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="IDK_CONFIG", help="The configuration.")
    ] = Path("idk.yaml"),
    samples: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Further samples of each answer. [default: the route's]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first questions of the file.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1024, help="Number of questions asked at the same time.")
    ] = 8,
    system: Annotated[str | None, typer.Option(help="System prompt for each question.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to ask. [default: the route's]")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="Sampling temperature of the answer.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tokens in an answer.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="The route of a model that grades the answers, in place of the rules.")
    ] = None,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="Conditions under which questions with passages are asked, from relevant, irrelevant, mixed, "
            "counterfactual and none, separated by commas. [default: relevant,irrelevant,none]"
        ),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            help="The environment variable with the API key, for an upstream with auth: forward. "
            "[default: OPENAI_API_KEY, where the upstream is OpenAI's API or on this machine]"
        ),
    ] = None,
    examples: Annotated[
        bool, typer.Option(help="Add the route's worked examples (rag.examples) before each question.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Ask each question as the proxy would, record the evidence, and grade the answer."""
    from proxy import app
    from proxy.cli.routes import asker_of, build_from, route_named
    from proxy.offline.evaluation import Judge
    from proxy.records import check_outputs

    check_outputs({"--out": out}, {"--data": data, "--config": config})
    parts = build_from(config)

    def asker_named(name: str, option: str, model: str | None) -> Asker:
        found = route_named(parts, name, option, config)
        return asker_of(
            parts, found, config, model=model, api_key_env=api_key_env, top_logprobs=app.TOP_LOGPROBS
        )

    def without_examples(asker: Asker) -> Asker:
        return replace(asker, route=replace(asker.route, examples=None))

    base = asker_named(route, "--route", model)
    params = {"temperature": temperature, "max_tokens": max_tokens}
    asker = replace(
        base if examples else without_examples(base),
        system=system,
        params={name: value for name, value in params.items() if value is not None},
        samples=base.route.config.samples if samples is None else samples,
        judge=None if judge is None else Judge(without_examples(asker_named(judge, "--judge", None))),
    )
    questions = _Questions.read(data, limit, contexts)

    async def work() -> Run:
        try:
            return await _evaluate(asker, questions, out, concurrency)
        finally:
            await parts.aclose()

    try:
        run = asyncio.run(work())
    except KeyboardInterrupt:
        kept = sum(1 for _ in out.open("rb")) if out.is_file() else 0
        print_error(
            f"interrupted: {kept:,} records are kept in {out}; run the same command again to ask the other questions"
        )
        raise
    counts: dict[str, object] = {
        label: run.labels[label] for label in ("correct", "incorrect", "abstained", "undecided")
    }
    if judge is not None:
        counts["disputed"] = run.disputed
    by_condition = _by_condition(out) if questions.conditions and out.is_file() else {}
    if as_json:
        result = {"asked": run.labels.total(), **counts}
        if by_condition:
            result["contexts"] = {name: tally.to_dict() for name, tally in by_condition.items()}
        print_json(result)
    else:
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        if run.labels.total():
            print_line(f"{out}: complete, {run.labels.total():,} new records, {words}")
        else:
            print_line(
                f"{out}: complete, every question has a record already; name another --out to ask again"
            )
        if by_condition:
            from proxy.cli.shared_tables import show_conditions

            show_conditions(by_condition)


def _by_condition(out: Path) -> dict[str, ConditionCounts]:
    """Count the labels of every record of the file by the condition of its passages."""
    from proxy import records as files
    from proxy.offline.evaluation.overrefusal import case_of, count_conditions

    cases = (case_of(record) for record, _ in files.lines(out, files.Record))
    return count_conditions(case for case in cases if case is not None)


async def _evaluate(asker: Asker, questions: _Questions, out: Path, concurrency: int) -> Run:
    """Ask the questions that ``out`` has no record of; every question is checked before the first is asked."""
    from proxy import records as files
    from proxy.offline.evaluation import Run
    from proxy.offline.progress import Steps

    total = sum(1 for _ in questions())
    with (
        files.Appender(out, asker.made_with) as sink,
        Steps(asker.route.name, total, done=min(len(sink.done), total)) as progress,
    ):
        run = Run(asker, sink, sink.done, told=lambda _: progress.step(_note(run)))
        await run.ask_all(questions, concurrency)
    return run


@dataclass(frozen=True, slots=True)
class _Questions:
    """The questions of a file, under each condition; the file is kept in memory only where passages are exchanged.

    ``conditions`` is empty where no question has passages and none was requested.
    """

    data: Path
    limit: int | None
    conditions: tuple[Condition, ...]

    @classmethod
    def read(cls, data: Path, limit: int | None, contexts: str | None) -> _Questions:
        """Check the whole file before the first question is paid for; raise ConfigError."""
        from proxy.offline.evaluation.contexts import DEFAULT, conditions

        wanted = None if contexts is None else conditions(contexts)
        # Reading every question checks the file, so the loop does not stop at the first one with passages.
        passages = [bool(question.context) for question in _questions(data, limit)]
        if wanted is None:
            wanted = DEFAULT if any(passages) else ()
        elif not any(passages) and set(wanted) != {"none"}:
            raise ConfigError(f"--contexts: no question of {data} has passages (`context`)")
        return cls(data, limit, wanted)

    def __call__(self) -> Iterator[Question]:
        """Iterate over the questions from the start."""
        from proxy.offline.evaluation.contexts import under_conditions

        if not self.conditions:
            return _questions(self.data, self.limit)
        return under_conditions(list(_questions(self.data, self.limit)), self.conditions)


def _note(run: Run) -> str:
    failed = f", {len(run.failed):,} failed" if run.failed else ""
    return f"{run.labels['correct'] / run.labels.total():.0%} correct{failed}"


def _questions(data: Path, limit: int | None) -> Iterator[Question]:
    """Read the first ``limit`` questions; raise ConfigError on one that cannot be graded."""
    from itertools import islice

    from gating.grading import grade
    from gating.types import GatingError
    from proxy import records as files

    for number, question, _ in islice(files.numbered(data, files.Question), limit):
        try:
            grade("x", question.answers, choices=question.choices)
        except GatingError as exc:
            raise ConfigError(f"{data}, line {number}: question {question.id!r}: {exc}") from exc
        yield question
