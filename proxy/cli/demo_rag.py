"""``idk demo-rag``: what passages do to a gate, and what conditions and a rescue mend, on an embedded model."""

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

    from proxy.demo.questions import Question
    from proxy.demo.rag import Plan
    from proxy.demo.setting import Setting

#: Requests that the embedded model answers at once: on two cores more only wait.
SLOTS = 4


def demo_rag(
    model: Annotated[str, typer.Option(help="The embedded model: 0.5b, 1.5b or smollm2.")] = "0.5b",
    questions: Annotated[
        int | None, typer.Option(min=40, max=500, help="How many are asked. [default: by model]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which questions are drawn.")] = 1,
    without: Annotated[
        list[Path] | None, typer.Option(help="Records of another run: none of their facts is asked again.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the answers here, as records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Ask with relevant, irrelevant and no passages, and show what gating changes, before and after."""
    from rich.console import Console

    from proxy.demo.embedded.fetch import fetch
    from proxy.demo.embedded.models import MODELS
    from proxy.demo.embedded.server import EmbeddedServer
    from proxy.demo.rag import PLANS
    from proxy.demo.setting import Setting

    if model not in MODELS:
        raise ConfigError(f"--model: {model} is unknown; choose one of {', '.join(MODELS)}")
    if find_spec("xllamacpp") is None:
        raise RunError("demo-rag: xllamacpp is not installed: pip install 'idk-proxy[demo]'")
    if out is not None and out.exists():
        raise ConfigError(f"--out: {out} is there already; name a new file")
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
        setting = Setting(Path(folder), server.base_url, server.model, plan.rag)
        figures = _run(console, setting, plan, drawn, out or setting.folder / "records.jsonl", seed)
    if as_json:
        import msgspec

        print(msgspec.json.encode(figures).decode())


def _drawn(n: int, seed: int, without: Sequence[Path]) -> Sequence[Question]:
    """The questions, none of them on a fact that the records ``without`` hold; raises ConfigError."""
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
    console: Console, setting: Setting, plan: Plan, questions: Sequence[Question], path: Path, seed: int
) -> Mapping[str, object]:
    from proxy.demo import rag, rag_text
    from proxy.offline.progress import Steps

    console.print(
        f"{len(questions)} questions, each asked without passages and with another question's;\n"
        "some with their own too.\n"
    )
    with Steps("asking", rag.calls(len(questions), plan)) as steps:
        answered = rag.ask(setting, questions, plan, path, concurrency=SLOTS, told=steps.step)
    found = rag.judged(answered, plan.goal, seed)
    dealt = rag.Dealt.of([rag.judged(answered, plan.goal, seed + 1 + way) for way in range(rag.DEALS)])
    rag_text.show(console, found, dealt, plan, asked=len(questions))
    return rag_text.figures(found, dealt, plan)
