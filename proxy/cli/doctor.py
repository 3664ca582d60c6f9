"""``idk doctor``: what can the upstreams do, and is it enough for the routes?"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.app import Parts
    from proxy.offline.doctor import Deployment, Diagnosis

#: What each probe is called.
_ROWS = {
    "answers": "answers",
    "logprobs": "logprobs",
    "top_logprobs": "alternatives of each token",
    "n": "several answers at once (n)",
    "seed": "seed",
    "stream": "streams",
    "stream_logprobs": "logprobs in streams",
    "json_schema": "JSON by a schema",
    "tools": "tools",
    "reasoning": "reasons before it answers",
    "usage": "counts tokens",
}


def doctor(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration.")] = Path("idk.yaml"),
    model: Annotated[
        str | None, typer.Option(help="The model to name, where a route takes any and rewrites none.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Where the key is, for an upstream with auth: forward.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Ask each upstream a few tiny questions, and say whether every route can be measured.

    About ten requests of a few tokens for each model; exit status 1 where a route cannot be measured.
    """
    import msgspec

    from proxy.app import build
    from proxy.config import error_prefix, load
    from proxy.control.policies import read_snapshot

    loaded, folder = load(config), config.resolve().parent
    with error_prefix(str(config)):
        snapshot = read_snapshot(loaded, folder, os.environ)
        parts = build(loaded, folder=folder, environ=os.environ, snapshot=snapshot)
    deployments, routes = asyncio.run(_probed(parts, config, model, api_key_env))
    if as_json:
        found = {
            "config": str(config),
            "deployments": [deployment.to_dict() for deployment in deployments],
            "routes": [route.to_dict() for route in routes],
        }
        print(msgspec.json.encode(found).decode())
    else:
        _show(deployments, routes)
    unmeasured = [route.route for route in routes if not route.measured]
    if unmeasured:
        raise RunError(f"{config}: answers of {', '.join(unmeasured)} cannot be measured")


async def _probed(
    parts: Parts, config: Path, model: str | None, api_key_env: str | None
) -> tuple[list[Deployment], list[Diagnosis]]:
    """Each deployment once, however many routes use it; raises ConfigError."""
    from proxy.cli.evaluate import credentials_of, model_of
    from proxy.offline.doctor import diagnosis, probe
    from proxy.offline.progress import Steps

    routes = parts.routes.routes
    wanted = {
        route.name: (route.upstream.name, model_of(route, config, model), credentials_of(route, api_key_env))
        for route in routes
    }
    found: dict[tuple[str, str], Deployment] = {}
    try:
        with Steps("doctor", len({key[:2] for key in wanted.values()})) as progress:
            for name, asked, credentials in wanted.values():
                if (name, asked) not in found:
                    found[name, asked] = await probe(parts.upstreams[name], asked, credentials)
                    progress.step(f"{name}: {asked}")
    finally:
        await parts.aclose()
    by_route = {route: found[name, asked] for route, (name, asked, _) in wanted.items()}
    return list(found.values()), [diagnosis(route, by_route) for route in routes]


def _show(deployments: Sequence[Deployment], routes: Iterable[Diagnosis]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for deployment in deployments:
        table.add_column(f"{deployment.upstream}\n{deployment.model}", justify="center", overflow="fold")
    for name, words in _ROWS.items():
        table.add_row(words, *(_cell(deployment.abilities.get(name)) for deployment in deployments))
    console.print(table)
    for deployment in deployments:
        for name, said in deployment.errors.items():
            console.print(f"  {deployment.upstream}: {name}: {said}", markup=False, highlight=False)
    for route in routes:
        reads = ", ".join(route.needs) or "nothing (off)"
        state = "can be measured" if route.measured else "CANNOT be measured"
        console.print(f"{route.route}: reads {reads}; {state}", markup=False, highlight=False)
        for line in (*route.missing, *route.hints):
            console.print(f"  - {line}", markup=False, highlight=False)


def _cell(found: bool | int | None) -> str:
    if found is None:
        return "?"
    if isinstance(found, bool):
        return "yes" if found else "-"
    return str(found)
