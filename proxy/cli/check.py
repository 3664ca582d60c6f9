"""``idk check``: is the configuration sound? Offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from proxy.routing import Route

Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration.")]


def check(
    config: Config = Path("idk.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the routes as JSON.")] = False,
) -> None:
    """Check a configuration and the policies that it names, without asking any upstream."""
    import msgspec

    from proxy.app import build
    from proxy.config import load

    parts = build(load(config), folder=config.resolve().parent, environ=os.environ)
    routes = [describe(route) for route in parts.routes.routes]
    if as_json:
        print(msgspec.json.encode({"config": str(config), "routes": routes}).decode())
        return
    print(f"{config}: sound")
    for route in routes:
        print(f"  {route['name']}: {', '.join(route['models'])} -> {route['upstream']}, {route['gate']}")


def describe(route: Route) -> dict[str, object]:
    """A route in words."""
    gate = route.gate
    if gate is None:
        words = "off"
    elif route.policy is not None:
        certified = "certified" if gate.certified() else "not certified"
        words = f"{route.config.mode} by policy {route.policy} at confidence {gate.limit:.3g}, {certified}"
    elif route.config.score_threshold is not None:
        words = f"{route.config.mode} by {route.config.scorers[0]} >= {route.config.score_threshold:g}, uncalibrated"
    else:
        words = f"{route.config.mode}, no threshold"
    return {
        "name": route.name,
        "models": list(route.config.models),
        "upstream": route.upstream.name,
        "mode": route.config.mode,
        "policy": route.policy,
        "threshold": None if gate is None else gate.limit,
        "gate": words,
    }
