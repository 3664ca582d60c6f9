"""``idk demo-loop``: observe, label, tune, enforce, and an alarm when the model gets worse."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
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
    from proxy.demo.questions import Question

#: Requests after an alarm.
AFTER = 20


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

    from proxy.demo.embedded.fetch import fetch
    from proxy.demo.embedded.models import MODELS
    from proxy.demo.embedded.server import EmbeddedServer
    from proxy.demo.loop import Loop, Plan

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
    from proxy.demo.loop import misled
    from proxy.demo.processes import serving
    from proxy.demo.questions import sample

    plan = loop.plan
    questions = iter(sample(plan.observe + plan.enforce + plan.worse + plan.misled, plan.seed))
    loop.write(base_url=model_url, enforce=False)
    with contextmanager(loop.start)(), serving(loop.worse(), os.environ) as (worse,):
        observed = _part(loop, "observe", list(islice(questions, plan.observe)))
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
        loop.until_in_force()
        enforced = _watched(loop, "enforce", list(islice(questions, plan.enforce)))
        console.print(f"3. Enforced: {enforced.answered} of {enforced.asked} answered.")
        _pictures(console, loop, pictures, "enforce")
        loop.write(base_url=f"{worse}/v1", enforce=True)
        spoilt = _watched(loop, "temperature 2", list(islice(questions, plan.worse)), until_looked=True)
        loop.compare(spoilt, enforced)
        console.print(f"4. The upstream samples at temperature 2: {_told(spoilt)}")
        if spoilt.alarm:
            _watched(loop, "closed", list(islice(questions, AFTER)), to_alarm=False)
            _pictures(console, loop, pictures, "drift")
        loop.write(base_url=model_url, enforce=True)
        loop.push(tuned)
        loop.until_in_force()
        console.print("5. The upstream is as it was, and the policy is pushed again.")
        lost = _watched(loop, "false passages", misled(list(questions), plan.seed))
        loop.compare(lost, enforced)
        console.print(f"6. The app puts passages before its questions, and they are false: {_told(lost)}")
        if lost.alarm:
            again = sample(2 * AFTER, plan.seed + 1, with_passage=True)
            _watched(loop, "tightened", misled(again, plan.seed), to_alarm=False)
        _pictures(console, loop, pictures, "worse")


#: What raised an alarm, in the table and in words.
_ALARMS = {"audit": "labels", "feedback": "reports", "drift": "drift"}


def _told(row: Row) -> str:
    if row.alarm:
        said = f"an alarm by {_ALARMS[row.alarm]} after {row.asked} requests, {row.labels} labels of served answers."
    else:
        said = f"no alarm. The gate withheld {row.asked - row.answered} of {row.asked}."
    shift = row.shift
    if shift is None:
        return said
    return f"{said}\n   Confidences, with no label: {shift.distance:.2f} apart (p = {shift.p_value:.1g})."


def _watched(
    loop: Loop, name: str, questions: Sequence[Question], *, to_alarm: bool = True, until_looked: bool = False
) -> Row:
    """One part under the policy, labelled as it goes; ``to_alarm``: it ends with one.

    ``until_looked``: at its end confidences are compared once more.
    """
    from proxy.demo.loop import BATCH, Row
    from proxy.offline.progress import Steps

    row = Row(name)
    loop.rows.append(row)
    with Steps(name, len(questions)) as steps:
        for start in range(0, len(questions), BATCH):
            loop.ask(row, questions[start : start + BATCH], steps.step)
            loop.label()
            loop.until_seen()
            loop.close(row)
            if row.alarm and to_alarm:
                return row
    if until_looked:
        loop.until_looked()
        loop.close(row)
    return row


def _part(loop: Loop, name: str, questions: Sequence[Question]) -> Row:
    from proxy.demo.loop import Row
    from proxy.offline.progress import Steps

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

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # it fits 80 columns
    for name in (
        "",
        "asked",
        "answered",
        "wrong",
        "threshold",
        "certificate",
        "wrong\nlabels",
    ):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for row in rows:
        closed = row.alarm == "drift" and not row.answered  # on_drift: abstain, whatever the threshold is
        thresholds = sorted({"-" if each is None or closed else f"{each:.2f}" for each in row.threshold})
        table.add_row(
            row.part, str(row.asked), str(row.answered), str(row.wrong), " / ".join(thresholds),
            f"revoked: {_ALARMS[row.alarm]}" if row.alarm else "holds" if row.certified else "-",
            f"{row.errors} of {row.labels}" if row.labels else "-",
        )  # fmt: skip
    return table
