"""The command ``idk doctor``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import cell, print_json, print_line
from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.app import Container
    from proxy.offline.doctor import Deployment, Diagnosis

#: The label of each ability in the table.
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
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="IDK_CONFIG", help="The configuration.")
    ] = Path("idk.yaml"),
    model: Annotated[
        str | None, typer.Option(help="The model to ask, for a route that takes any model and names none.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            help="The environment variable with the API key, for an upstream with auth: forward. "
            "[default: OPENAI_API_KEY, where the upstream is OpenAI's API or on this machine]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Probe each upstream with a few short requests, and report whether the answers of every route can be measured.

    Sends about ten requests of a few tokens for each model. The exit status is 1 where a route cannot be measured.
    """
    from proxy.cli.routes import build_from

    deployments, routes = asyncio.run(_probed(build_from(config), config, model, api_key_env))
    if as_json:
        found = {
            "config": str(config),
            "deployments": [deployment.to_dict() for deployment in deployments],
            "routes": [route.to_dict() for route in routes],
        }
        print_json(found)
    else:
        _show(deployments, routes)
    unmeasured = [route.route for route in routes if not route.measured]
    if unmeasured:
        raise RunError(f"{config}: the answers of {', '.join(unmeasured)} cannot be measured")


async def _probed(
    container: Container, config: Path, model: str | None, api_key_env: str | None
) -> tuple[list[Deployment], list[Diagnosis]]:
    """Probe each deployment once, even if several routes use it; raise ConfigError."""
    from proxy.cli.routes import credentials_of, model_of
    from proxy.offline.doctor import diagnosis, probe
    from proxy.offline.progress import Steps

    routes = container.routes.routes
    wanted = {
        route.name: (
            route.upstream.name,
            model_of(route, config, model),
            credentials_of(container, route, api_key_env),
        )
        for route in routes
    }
    found: dict[tuple[str, str], Deployment] = {}
    try:
        with Steps("doctor", len({key[:2] for key in wanted.values()})) as progress:
            for name, asked, credentials in wanted.values():
                if (name, asked) not in found:
                    found[name, asked] = await probe(container.upstreams[name], asked, credentials)
                    progress.step(f"{name}: {asked}")
    finally:
        await container.aclose()
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
        title = cell(deployment.upstream).append("\n").append(cell(deployment.model))
        table.add_column(title, justify="center", overflow="fold")
    for name, words in _ROWS.items():
        table.add_row(words, *(_ability(deployment.abilities.get(name)) for deployment in deployments))
    console.print(table)
    for deployment in deployments:
        for name, said in deployment.errors.items():
            print_line(f"  {deployment.upstream}: {name}: {said}")
    for route in routes:
        reads = ", ".join(route.needs) or "nothing (off)"
        state = "can be measured" if route.measured else "CANNOT be measured"
        print_line(f"{route.route}: reads {reads}; {state}")
        for line in (*route.missing, *route.hints):
            print_line(f"  - {line}")


def _ability(found: bool | int | None) -> str:
    if found is None:
        return "?"
    if isinstance(found, bool):
        return "yes" if found else "-"
    return str(found)
