"""``idk evaluate``: questions, asked through a route and graded, become records."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError
from proxy.server.bodies import Bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.offline.evaluation import Asker, Run
    from proxy.offline.evaluation.overrefusal import Tally
    from proxy.records import Condition, Question
    from proxy.requests.route import Route


def evaluate(
    route: Annotated[str, typer.Option(help="The route whose upstream answers.")],
    data: Annotated[Path, typer.Option("--data", help="The questions, one JSON object a line.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The records; a run that stopped goes on.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration.")] = Path("idk.yaml"),
    samples: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Further answers to each question. [default: the route's]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many questions, from the top.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Questions under way at once.")] = 8,
    system: Annotated[str | None, typer.Option(help="A system prompt before each question.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to name. [default: the route's]")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="Of the answer.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of the answer.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="The route of a model that grades in the place of the rules.")
    ] = None,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="What questions with passages are asked under, as relevant,irrelevant,mixed,counterfactual,none. "
            "[default: relevant,irrelevant,none]"
        ),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Where the key is, for an upstream with auth: forward.")
    ] = None,
    examples: Annotated[
        bool, typer.Option(help="Put the route's worked examples (rag.examples) before each question.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Ask each question as the proxy would, keep the evidence, grade the answer."""
    import msgspec

    from proxy import app
    from proxy.config import error_prefix, load
    from proxy.control.policies import read_snapshot
    from proxy.offline.evaluation import Asker, Judge

    loaded, folder = load(config), config.resolve().parent
    with error_prefix(str(config)):
        snapshot = read_snapshot(loaded, folder, os.environ)
        parts = app.build(loaded, folder=folder, environ=os.environ, snapshot=snapshot)
    params = {"temperature": temperature, "max_tokens": max_tokens}

    def asker_of(name: str, model: str | None) -> Asker:
        found = _route(parts.routes.routes, name, config)
        return Asker(
            route=found,
            model=model or model_of(found, config),
            top_logprobs=app.TOP_LOGPROBS,
            bodies=Bodies(server=parts.config.server),
            credentials=credentials_of(found, api_key_env),
        )

    def without_examples(asker: Asker) -> Asker:
        return replace(asker, route=replace(asker.route, examples=None))

    asked = asker_of(route, model)
    asker = replace(
        asked if examples else without_examples(asked),
        system=system,
        params={name: value for name, value in params.items() if value is not None},
        samples=asked.route.config.samples if samples is None else samples,
        judge=None if judge is None else Judge(without_examples(asker_of(judge, None))),
    )

    questions = _Posed.of(data, limit, contexts)

    async def work() -> Run:
        try:
            return await _evaluate(asker, questions, out, concurrency)
        finally:
            await parts.aclose()

    run = asyncio.run(work())
    counts: dict[str, object] = {label: run.labels[label] for label in ("correct", "incorrect", "abstained")}
    if judge is not None:
        counts["disputed"] = run.disputed
    measured = _measured(out) if questions.conditions else {}
    if as_json:
        told = {"asked": run.labels.total(), **counts}
        if measured:
            told["contexts"] = {name: tally.to_dict() for name, tally in measured.items()}
        print(msgspec.json.encode(told).decode())
    else:
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        print(f"{out}: {run.labels.total():,} new records, {words}")
        if measured:
            from proxy.cli.contexts_text import show

            show(measured)


def _measured(out: Path) -> dict[str, Tally]:
    """What passages do, over every record of the file."""
    from proxy import records as files
    from proxy.offline.evaluation.overrefusal import case_of, tallies

    cases = (case_of(record) for record, _ in files.lines(out, files.Record))
    return tallies(case for case in cases if case is not None)


async def _evaluate(asker: Asker, questions: _Posed, out: Path, concurrency: int) -> Run:
    """Check every question before the first is paid for, see what is answered already, ask the rest."""
    from proxy import records as files
    from proxy.offline.evaluation import Run
    from proxy.offline.progress import Steps

    total = sum(1 for _ in questions())
    sink = files.Appender(out)
    try:
        done = files.answered(out, asker.made_with)
        with Steps(asker.route.name, total, done=min(len(done), total)) as progress:
            run = Run(asker, sink, done, told=lambda _: progress.step(_note(run)))
            await run.ask_all(questions, concurrency)
    finally:
        sink.close()
    return run


@dataclass(frozen=True, slots=True)
class _Posed:
    """The questions as they are asked; the file is kept in memory only where passages are exchanged.

    ``conditions`` is empty where no question has passages, and nobody asked for a condition.
    """

    data: Path
    limit: int | None
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, data: Path, limit: int | None, contexts: str | None) -> _Posed:
        """Checked whole before the first is paid for; raises ConfigError."""
        from proxy.offline.evaluation.contexts import DEFAULT, conditions

        wanted = None if contexts is None else conditions(contexts)
        # Every one is looked at, also where the first tells enough: the file is checked by it.
        passages = [bool(question.context) for question in _questions(data, limit)]
        if wanted is None:
            wanted = DEFAULT if any(passages) else ()
        elif not any(passages) and set(wanted) != {"none"}:
            raise ConfigError(f"--contexts: no question of {data} has passages (`context`)")
        return cls(data, limit, wanted)

    def __call__(self) -> Iterator[Question]:
        """All of them anew."""
        from proxy.offline.evaluation.contexts import posed

        if not self.conditions:
            return _questions(self.data, self.limit)
        return posed(list(_questions(self.data, self.limit)), self.conditions)


def _note(run: Run) -> str:
    failed = f", {len(run.failed):,} failed" if run.failed else ""
    return f"{run.labels['correct'] / run.labels.total():.0%} correct{failed}"


def _questions(data: Path, limit: int | None) -> Iterator[Question]:
    """The first ``limit`` questions; raises ConfigError on one that could not be graded."""
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


def _route(routes: tuple[Route, ...], name: str, config: Path) -> Route:
    found = next((route for route in routes if route.name == name), None)
    if found is None:
        raise ConfigError(
            f"--route: {config} has no route {name}; it has {', '.join(r.name for r in routes)}"
        )
    return found


def model_of(route: Route, config: Path, given: str | None = None) -> str:
    """What the upstream will be asked for, or else a name that the route takes, or the one ``given``."""
    plain = [name for name in route.config.models if not set(name) & set("*?[")]
    names = [*filter(None, [route.config.model]), *plain, *filter(None, [given])]
    if not names:
        raise ConfigError(
            f"--model: which one? the route {route.name} of {config} takes {', '.join(route.config.models)}"
        )
    return names[0]


def credentials_of(route: Route, api_key_env: str | None) -> bytes | None:
    """The client's key where the upstream takes it, from the environment; raises ConfigError."""
    if not route.upstream.forwards_credentials:
        return None
    key = os.environ.get(api_key_env or "", "").strip()
    if not key:
        raise ConfigError(
            f"--api-key-env: the upstream of {route.name} takes the client's own key (auth: forward); "
            "name the environment variable that holds one"
        )
    return b"Bearer " + key.encode()
