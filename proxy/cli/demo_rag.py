"""The command ``idk demo-rag``."""

from __future__ import annotations

import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from proxy.demo.demo_proxy import DemoSetup
    from proxy.demo.questions import Question
    from proxy.demo.rag import RagPlan

#: Requests that the embedded model answers at the same time; on two cores more requests only wait.
SLOTS = 4


def demo_rag(
    model: Annotated[str, typer.Option(help="The embedded model: 0.5b, 1.5b or smollm2.")] = "0.5b",
    questions: Annotated[
        int | None, typer.Option(min=40, max=500, help="Number of questions. [default: by model]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawing the questions.")] = 1,
    without: Annotated[
        list[Path] | None,
        typer.Option(help="Records of another run; questions about their facts are left out."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers to this file, as records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Ask an embedded model with relevant, irrelevant and no passages, and show what conditions and a rescue change."""
    from rich.console import Console

    from proxy.demo.demo_proxy import DemoSetup
    from proxy.demo.embedded.fetch import fetch
    from proxy.demo.embedded.models import MODELS
    from proxy.demo.embedded.server import EmbeddedServer
    from proxy.demo.rag import PLANS

    if model not in MODELS:
        raise ConfigError(f"--model: {model} is unknown; choose one of {', '.join(MODELS)}")
    if find_spec("xllamacpp") is None:
        raise RunError("demo-rag: xllamacpp is not installed: pip install 'idk-proxy[demo]'")
    if out is not None and out.exists():
        raise ConfigError(f"--out: {out} exists already; name a new file")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = PLANS[model]
    drawn = _drawn(questions or plan.questions, seed, without or ())
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    weights = fetch(MODELS[model])
    console.print(f"\n[bold]idk demo-rag[/]  {MODELS[model].title} with passages from tables of facts\n")
    with (
        tempfile.TemporaryDirectory(prefix="idk-demo-") as folder,
        EmbeddedServer(weights, slots=SLOTS) as server,
    ):
        setup = DemoSetup(Path(folder), server.base_url, server.model, plan.rag)
        figures = _run(console, setup, plan, drawn, out or setup.folder / "records.jsonl", seed)
    if as_json:
        import msgspec

        print(msgspec.json.encode(figures).decode())


def _drawn(n: int, seed: int, without: Sequence[Path]) -> Sequence[Question]:
    """Draw questions about facts that the records ``without`` do not contain; raise ConfigError."""
    from proxy import records
    from proxy.demo.questions import sample

    asked = {
        record.group or record.id for path in without for record, _ in records.lines(path, records.Record)
    }
    try:
        return sample(n, seed, with_passage=True, without=asked)
    except ValueError as exc:
        raise ConfigError(f"--questions: {exc}") from exc


def _run(
    console: Console, setup: DemoSetup, plan: RagPlan, questions: Sequence[Question], path: Path, seed: int
) -> Mapping[str, object]:
    from proxy.demo import rag, rag_tables
    from proxy.offline.progress import Steps

    console.print(
        f"{len(questions)} questions, each asked without passages and with another question's\n"
        "passage; some also with their own.\n"
    )
    with Steps("asking", rag.calls(len(questions), plan)) as steps:
        answered = rag.ask(setup, questions, plan, path, concurrency=SLOTS, on_answer=steps.step)
    found = rag.judged(answered, plan.goal, seed)
    repeats = rag.Repeats.of([rag.judged(answered, plan.goal, seed + 1 + way) for way in range(rag.DEALS)])
    rag_tables.show(console, found, repeats, plan, asked=len(questions))
    return rag_tables.figures(found, repeats, plan)
