"""The command ``idk demo-loop``."""

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

    from proxy.demo.loop import Loop, Phase
    from proxy.demo.questions import Question

#: Number of requests after an alarm.
AFTER = 20


def demo_loop(
    model: Annotated[str, typer.Option(help="The embedded model: 0.5b, 1.5b or smollm2.")] = "0.5b",
    store: Annotated[
        str | None,
        typer.Option(help="An empty store; redis://… runs two servers. [default: SQLite and one server]"),
    ] = None,
    observe: Annotated[
        int, typer.Option(min=100, max=1_000, help="Number of requests to label and tune from.")
    ] = 300,
    enforce: Annotated[
        int, typer.Option(min=20, max=1_000, help="Number of requests under the policy.")
    ] = 100,
    target_risk: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="The target risk of the policy.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed for drawing the questions.")] = 0,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for screenshots of the page. [default: demo-loop/]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run the feedback loop on an embedded model: observe, label, tune, enforce, and alarms when answers get worse."""
    from rich.console import Console

    from proxy.demo.embedded.fetch import fetch
    from proxy.demo.embedded.models import MODELS
    from proxy.demo.embedded.server import EmbeddedServer
    from proxy.demo.loop import Loop, LoopPlan

    if model not in MODELS:
        raise ConfigError(f"--model: {model} is unknown; choose one of {', '.join(MODELS)}")
    if missing := [name for name in ("openai", "xllamacpp") if find_spec(name) is None]:
        raise RunError(f"demo-loop: {' and '.join(missing)} not installed: pip install 'idk-proxy[demo]'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    shared = store is not None and store.startswith("redis")
    processes = 2 if shared else 1
    plan = LoopPlan(observe=observe, enforce=enforce, target_risk=target_risk, processes=processes, seed=seed)
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

        print(msgspec.json.encode(loop.phases).decode())
    else:
        console.print(_table(loop.phases))


def _run(console: Console, loop: Loop, model_url: str, pictures: Path) -> None:
    from proxy.demo.loop import with_false_passages
    from proxy.demo.processes import running_servers
    from proxy.demo.questions import sample

    plan = loop.plan
    questions = iter(sample(plan.observe + plan.enforce + plan.worse + plan.misled, plan.seed))
    loop.write(base_url=model_url, enforce=False)
    with contextmanager(loop.start)(), running_servers(loop.worse(), os.environ) as (worse,):
        observed = _part(loop, "observe", list(islice(questions, plan.observe)))
        console.print(f"1. Observed {observed.asked} requests and labelled {loop.label()} answers.")
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
        worse_phase = _watched(loop, "temperature 2", list(islice(questions, plan.worse)), until_looked=True)
        loop.compare(worse_phase, enforced)
        console.print(f"4. The upstream samples at temperature 2: {_alarm(worse_phase)}")
        if worse_phase.alarm:
            _watched(loop, "closed", list(islice(questions, AFTER)), to_alarm=False)
            _pictures(console, loop, pictures, "drift")
        loop.write(base_url=model_url, enforce=True)
        loop.push(tuned)
        loop.until_in_force()
        console.print("5. The original upstream is back, and the policy is pushed again.")
        misled = _watched(loop, "false passages", with_false_passages(list(questions), plan.seed))
        loop.compare(misled, enforced)
        console.print(f"6. The app adds passages with false statements: {_alarm(misled)}")
        if misled.alarm:
            again = sample(2 * AFTER, plan.seed + 1, with_passage=True)
            _watched(loop, "tightened", with_false_passages(again, plan.seed), to_alarm=False)
        _pictures(console, loop, pictures, "worse")


#: The causes of an alarm, with their names in the output.
_ALARMS = {"audit": "labels", "feedback": "reports", "drift": "drift"}


def _alarm(phase: Phase) -> str:
    if phase.alarm:
        cause = _ALARMS[phase.alarm]
        text = (
            f"an alarm by {cause} after {phase.asked} requests and {phase.labels} labels of served answers."
        )
    else:
        text = f"no alarm. The gate withheld {phase.asked - phase.answered} of {phase.asked}."
    shift = phase.shift
    if shift is None:
        return text
    return f"{text}\n   Confidences, without labels: {shift.distance:.2f} apart (p = {shift.p_value:.1g})."


def _watched(
    loop: Loop, name: str, questions: Sequence[Question], *, to_alarm: bool = True, until_looked: bool = False
) -> Phase:
    """Run one phase under the policy and label it in batches; with ``to_alarm`` it ends at an alarm.

    With ``until_looked`` it waits at the end until the confidences have been compared again.
    """
    from proxy.demo.loop import BATCH, Phase
    from proxy.offline.progress import Steps

    phase = Phase(name)
    loop.phases.append(phase)
    with Steps(name, len(questions)) as steps:
        for start in range(0, len(questions), BATCH):
            loop.ask(phase, questions[start : start + BATCH], steps.step)
            loop.label()
            loop.until_seen()
            loop.close(phase)
            if phase.alarm and to_alarm:
                return phase
    if until_looked:
        loop.until_looked()
        loop.close(phase)
    return phase


def _part(loop: Loop, name: str, questions: Sequence[Question]) -> Phase:
    from proxy.demo.loop import Phase
    from proxy.offline.progress import Steps

    phase = Phase(name)
    loop.phases.append(phase)
    with Steps(name, len(questions)) as steps:
        loop.ask(phase, questions, steps.step)
    return phase


def _pictures(console: Console, loop: Loop, folder: Path, name: str) -> None:
    from proxy.demo.loop import ROUTE
    from proxy.demo.screenshots import take_screenshots

    found = take_screenshots(loop.urls[-1], loop.key, ROUTE, folder, name)
    console.print(f"   {found if isinstance(found, str) else ', '.join(map(str, found))}")


def _table(phases: Sequence[Phase]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # fits 80 columns
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
    for phase in phases:
        closed = phase.alarm == "drift" and not phase.answered  # on_drift: abstain withholds everything
        thresholds = sorted({"-" if each is None or closed else f"{each:.2f}" for each in phase.threshold})
        table.add_row(
            phase.part, str(phase.asked), str(phase.answered), str(phase.wrong), " / ".join(thresholds),
            f"revoked: {_ALARMS[phase.alarm]}" if phase.alarm else "holds" if phase.certified else "-",
            f"{phase.errors} of {phase.labels}" if phase.labels else "-",
        )  # fmt: skip
    return table
