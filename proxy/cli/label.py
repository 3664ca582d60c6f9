"""The commands ``idk label``, which shows the answers of the audit sample, and ``idk label export``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import print_line
from proxy.cli.store_options import ConfigFile, StoreUrl, Who, store_for, user_name
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from proxy.offline.labelling import Proposer

    Close = Callable[[], Coroutine[Any, Any, None]]

app = typer.Typer(
    help="Label the answers of the audit sample, which is drawn at random.", invoke_without_command=True
)

_IDK_YAML = Path("idk.yaml")
RouteName = Annotated[str | None, typer.Option("--route", help="The route whose answers are labelled.")]


@app.callback()
def label(
    context: typer.Context,
    store: StoreUrl = None,
    route: RouteName = None,
    judge: Annotated[
        str | None, typer.Option(help="A route of --config whose model proposes a label for each answer.")
    ] = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    show_decision: Annotated[
        bool,
        typer.Option(
            "--show-decision",
            help="Show confidence and decision before the label, which biases the labels.",
        ),
    ] = False,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            help="The environment variable with the judge's API key, for an upstream with auth: forward."
        ),
    ] = None,
) -> None:
    """Show one answer at a time and read a key: c correct, i incorrect, a abstained, s skip, u undo, q quit.

    Answers that have a label already are not shown again.
    """
    context.obj = (store, route, config)
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "label: needs a terminal, since it reads single keys; without one, label on the page at /admin"
        )
    from proxy.cli.label_terminal import LabelSession

    name = _required(route, config)
    opened = store_for(store, config, "write")
    with asyncio.Runner() as runner:
        proposer, close = (None, None) if judge is None else _judge(judge, config, api_key_env)
        runner.run(opened.open())
        try:
            LabelSession(runner, opened, name, user_name(who), proposer, show_decision=show_decision).run()
        finally:
            runner.run(opened.aclose())
            if close is not None:
                runner.run(close())


def _judge(name: str, config: Path, api_key_env: str | None) -> tuple[Proposer, Close]:
    """Return what proposes labels, and the function that closes its connections; raise ConfigError."""
    from proxy.cli.routes import asker_of, build_from, route_named
    from proxy.offline.labelling import Proposer

    parts = build_from(config)
    found = route_named(parts, name, "--judge", config)
    asker = asker_of(parts, found, config, model=None, api_key_env=api_key_env, top_logprobs=0)
    return Proposer(asker), parts.aclose


def _required(route: str | None, config: Path) -> str:
    """Return the route; raise ConfigError, which names the routes with an audit sample, where none is given."""
    if route is not None:
        return route
    from proxy.config import load

    try:
        names = [each.name for each in load(config).routes if each.audit]
    except ConfigError:
        names = []
    known = f"; routes with answers to label: {', '.join(names)}" if names else "; name the route to label"
    raise ConfigError(f"label: --route is required{known}")


@app.command()
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the records, for `idk tune`.")],
    store: StoreUrl = None,
    route: RouteName = None,
    config: ConfigFile = _IDK_YAML,
) -> None:
    """Write the labelled answers as graded records.

    Only those that form a random sample are written, since they may certify a policy.
    """
    from proxy import records
    from proxy.exceptions import RunError
    from proxy.offline import labelling

    records.check_outputs({"--out": out}, {})
    parent: tuple[str | None, str | None, Path] = context.obj
    opened = store_for(store or parent[0], config if config != _IDK_YAML else parent[2], "read")
    name = _required(route or parent[1], config if config != _IDK_YAML else parent[2])

    async def read() -> labelling.Export:
        try:
            await opened.open()
            return await labelling.export(opened, name)
        finally:
            await opened.aclose()

    found = asyncio.run(read())
    if not found.records:
        raise RunError(f"label export: {name} has {found}; label the sample from its beginning")
    records.write_lines(out, map(records.encoded, found.records))
    print_line(f"{out}: {found}")
