"""``idk check``: is the configuration sound? Offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gating import Gate
    from proxy.requests.route import Route

Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration.")]


def check(
    config: Config = Path("idk.yaml"),
    example: Annotated[
        Path | None,
        typer.Option(help="A request's JSON: shows which route takes it, and what of it is context."),
    ] = None,
    surface: Annotated[str, typer.Option(help="The wire format of the example.")] = "chat",
    as_json: Annotated[bool, typer.Option("--json", help="Print the routes as JSON.")] = False,
) -> None:
    """Check a configuration and the policies that it names, without asking any upstream.

    Policies that stand in the store are looked up there.
    """
    import msgspec

    from proxy.app import build
    from proxy.config import error_prefix, load
    from proxy.control.policies import read_snapshot

    loaded, folder = load(config), config.resolve().parent
    with error_prefix(str(config)):
        snapshot = read_snapshot(loaded, folder, os.environ)
        parts = build(loaded, folder=folder, environ=os.environ, snapshot=snapshot)
    routes = parts.routes.routes
    if example is not None:
        from proxy.cli import check_example

        check_example.show(example, surface, parts.routes, as_json=as_json)
        return
    if as_json:
        print(
            msgspec.json.encode(
                {"config": str(config), "routes": [describe(route) for route in routes]}
            ).decode()
        )
        return
    print(f"{config}: sound")
    for route in routes:
        print(f"  {route.name}: {', '.join(route.config.models)} -> {route.upstream.name}, {in_words(route)}")


def in_words(route: Route) -> str:
    """What a route's gate does."""
    config, gate = route.config, route.gate
    if gate is None:
        return "off"
    if route.policy is not None:
        certified = "certified" if gate.certified() else "not certified"
        return f"{config.mode} by policy {route.policy} at confidence {_limits(gate)}, {certified}"
    if config.score_threshold is not None:
        return f"{config.mode} by {config.scorers[0]} >= {config.score_threshold:g}, uncalibrated"
    return f"{config.mode}, no threshold"


def _limits(gate: Gate) -> str:
    """The threshold in force, or that of each condition."""
    from gating.policy import Policy

    rule = gate.rule
    if gate.threshold is None and isinstance(rule, Policy) and rule.conditions is not None:
        return ", ".join(
            f"{name} {'never' if group.threshold is None else format(group.threshold, '.3g')}"
            for name, group in rule.conditions.groups.items()
        )
    return f"{gate.limit:.3g}"


def describe(route: Route) -> dict[str, object]:
    """A route as JSON values."""
    return {
        "name": route.name,
        "models": list(route.config.models),
        "upstream": route.upstream.name,
        "mode": route.config.mode,
        "policy": route.policy,
        "threshold": None if route.gate is None else route.gate.limit,
        "certified": route.gate is not None and route.gate.certified(),
    }
