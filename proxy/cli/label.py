"""``idk label``: the audit sample, one key an answer; ``idk label export``: what was labelled, as records."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.stores import ConfigFile, StoreUrl, Who, store_for, who_is
from proxy.exceptions import ConfigError
from proxy.server.bodies import Bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from proxy.offline.labelling import Proposer

    Close = Callable[[], Coroutine[Any, Any, None]]

app = typer.Typer(help="Label answers that were drawn at random.", invoke_without_command=True)

_IDK_YAML = Path("idk.yaml")
RouteName = Annotated[str | None, typer.Option("--route", help="The route whose sample it is.")]


@app.callback()
def label(
    context: typer.Context,
    store: StoreUrl = None,
    route: RouteName = None,
    judge: Annotated[
        str | None, typer.Option(help="The route of a model that proposes a label; needs --config.")
    ] = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Where the judge's key is, for an upstream with auth: forward.")
    ] = None,
) -> None:
    """Show each answer and take one key: c, i or a; s skips, u takes back, q ends. It goes on where it ended."""
    context.obj = (store, route, config)
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "label: needs a terminal to read keys from; elsewhere use the page at /admin, or `idk label export`"
        )
    from proxy.cli.label_terminal import Sitting

    opened = store_for(store, config)
    with asyncio.Runner() as runner:
        proposer, close = (None, None) if judge is None else _judge(judge, config, api_key_env)
        runner.run(opened.open())
        try:
            Sitting(runner, opened, _route(route), who_is(who), proposer).run()
        finally:
            runner.run(opened.aclose())
            if close is not None:
                runner.run(close())


def _judge(name: str, config: Path, api_key_env: str | None) -> tuple[Proposer, Close]:
    from proxy import app as application
    from proxy.cli.evaluate import credentials_of, model_of
    from proxy.config import error_prefix, load
    from proxy.control.policies import read_snapshot
    from proxy.offline.evaluation import Asker
    from proxy.offline.labelling import Proposer

    loaded, folder = load(config), config.resolve().parent
    with error_prefix(str(config)):
        parts = application.build(
            loaded, folder=folder, environ=os.environ, snapshot=read_snapshot(loaded, folder, os.environ)
        )
    found = next((each for each in parts.routes.routes if each.name == name), None)
    if found is None:
        raise ConfigError(f"--judge: {config} has no route {name}")
    asker = Asker(
        route=found,
        model=model_of(found, config),
        top_logprobs=0,
        bodies=Bodies(server=parts.config.server),
        credentials=credentials_of(found, api_key_env),
    )
    return Proposer(asker), parts.aclose


def _route(given: str | None) -> str:
    if given is None:
        raise ConfigError("label: --route: whose answers? name the route")
    return given


@app.command()
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="The records, for `idk tune`.")],
    store: StoreUrl = None,
    route: RouteName = None,
    config: ConfigFile = _IDK_YAML,
) -> None:
    """Write what was labelled as graded records: as far as they are a random sample, for they may certify."""
    from proxy import records
    from proxy.exceptions import RunError
    from proxy.offline import labelling

    above: tuple[str | None, str | None, Path] = context.obj
    opened = store_for(store or above[0], config if config != _IDK_YAML else above[2])
    name = _route(route or above[1])

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
    print(f"{out}: {found}")
