"""``idk demo-loop``: observe, label, tune, enforce, and an alarm when the model gets worse."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.demo import SLOTS
from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from proxy.demo.loop import Loop, Row
    from proxy.questions import Question


def demo_loop(
    model: Annotated[str, typer.Option(help="The embedded model: 0.5b, 1.5b or smollm2.")] = "0.5b",
    store: Annotated[
        str | None, typer.Option(help="An empty store: redis://… runs two proxies. [default: SQLite, one]")
    ] = None,
    observe: Annotated[int, typer.Option(min=100, max=1_000, help="Requests to label and tune from.")] = 300,
    enforce: Annotated[int, typer.Option(min=20, max=1_000, help="Requests under the policy.")] = 100,
    target_risk: Annotated[float, typer.Option(min=0.01, max=0.9, help="What is promised.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Which questions are drawn.")] = 0,
    pictures: Annotated[
        Path | None, typer.Option(help="Where the page's pictures go. [default: demo-loop/]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run the loop that makes a threshold right and keeps it right, on a real model."""
    from rich.console import Console

    from proxy.demo.loop import Loop, Plan
    from proxy.embedded.fetch import fetch
    from proxy.embedded.models import MODELS
    from proxy.embedded.server import EmbeddedServer

    if model not in MODELS:
        raise ConfigError(f"--model: {model} is unknown; choose one of {', '.join(MODELS)}")
    if missing := [name for name in ("openai", "xllamacpp") if find_spec(name) is None]:
        raise RunError(f"demo-loop: {' and '.join(missing)} not installed: pip install 'idk-proxy[demo]'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    shared = store is not None and store.startswith("redis")
    processes = 2 if shared else 1
    plan = Plan(observe=observe, enforce=enforce, target_risk=target_risk, processes=processes, seed=seed)
    weights = fetch(MODELS[model])
    console.print(f"\n[bold]idk demo-loop[/]  {MODELS[model].title}, {plan.processes} × idk serve\n")
    with (
        tempfile.TemporaryDirectory(prefix="idk-demo-") as folder,
        EmbeddedServer(weights, slots=SLOTS) as server,
    ):
        loop = Loop(Path(folder), server.base_url, server.model, store or "sqlite:///idk.db", plan)
        _run(console, loop, server.base_url, pictures or Path("demo-loop"))
    if as_json:
        import msgspec

        print(msgspec.json.encode(loop.rows).decode())
    else:
        console.print(_table(loop.rows))


def _run(console: Console, loop: Loop, model_url: str, pictures: Path) -> None:
    from proxy.demo.loop import BATCH, Row
    from proxy.demo.processes import serving
    from proxy.progress import Steps
    from proxy.questions import sample

    plan = loop.plan
    questions = sample(plan.observe + plan.enforce + plan.worse, plan.seed)
    loop.write(base_url=model_url, enforce=False)
    with contextmanager(loop.start)(), serving(loop.worse(), os.environ) as (worse,):
        observed = _part(loop, "observe", questions[: plan.observe])
        console.print(f"1. Observed {observed.asked} requests; {loop.label()} answers are labelled.")
        loop.close(observed)
        tuned = loop.tune()
        certificate = tuned.policy.certificate
        if certificate is not None:
            console.print(
                f"2. Tuned: threshold {tuned.policy.threshold:.3f}, certified: at most "
                f"{certificate.target_risk:.0%} wrong with probability {1 - certificate.delta:.0%}."
            )
        loop.push(tuned)
        loop.write(base_url=model_url, enforce=True)
        enforced = _part(loop, "enforce", questions[plan.observe :][: plan.enforce])
        loop.label()
        loop.until_seen()
        loop.close(enforced)
        console.print(f"3. Enforced: {enforced.answered} of {enforced.asked} answered.")
        _pictures(console, loop, pictures, "enforce")
        loop.write(base_url=f"{worse}/v1", enforce=True)
        console.print("4. The upstream samples at temperature 2 from now on.")
        spoilt = Row("temperature 2")
        loop.rows.append(spoilt)
        rest = questions[plan.observe + plan.enforce :]
        with Steps("temperature 2", len(rest)) as steps:
            for start in range(0, len(rest), BATCH):
                loop.ask(spoilt, rest[start : start + BATCH], steps.step)
                loop.label()
                loop.until_seen()
                loop.close(spoilt)
                if spoilt.alarm:
                    break
        if not spoilt.alarm:
            console.print(f"   No alarm after {spoilt.asked} requests: the gate withholds what went wrong.")
        else:
            console.print(
                f"5. Alarm after {spoilt.asked} requests, {spoilt.labels} labels of served answers."
            )
            tightened = _part(loop, "tightened", rest[spoilt.asked :][:BATCH] or rest[-BATCH:])
            loop.label()
            loop.close(tightened)
        _pictures(console, loop, pictures, "worse")


def _part(loop: Loop, name: str, questions: Sequence[Question]) -> Row:
    from proxy.demo.loop import Row
    from proxy.progress import Steps

    row = Row(name)
    loop.rows.append(row)
    with Steps(name, len(questions)) as steps:
        loop.ask(row, questions, steps.step)
    return row


def _pictures(console: Console, loop: Loop, folder: Path, name: str) -> None:
    from proxy.demo.loop import ROUTE
    from proxy.demo.pictures import taken

    found = taken(loop.urls[-1], loop.key, ROUTE, folder, name)
    console.print(f"   {found if isinstance(found, str) else ', '.join(map(str, found))}")


def _table(rows: Sequence[Row]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (
        "",
        "requests",
        "answered",
        "wrong",
        "threshold",
        "certified",
        "alarm",
        "audit: wrong of labels",
    ):
        table.add_column(name, justify="left" if not name else "right")
    for row in rows:
        thresholds = sorted({"-" if each is None else f"{each:.3f}" for each in row.threshold})
        table.add_row(
            row.part, str(row.asked), str(row.answered), str(row.wrong), " / ".join(thresholds),
            "yes" if row.certified else "no", "yes" if row.alarm else "no",
            f"{row.errors} of {row.labels}" if row.labels else "-",
        )  # fmt: skip
    return table
