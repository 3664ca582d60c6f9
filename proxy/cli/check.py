"""The command ``idk check``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import print_json, print_line

if TYPE_CHECKING:
    from gating import Gate
    from proxy.requests.route import Route

Config = Annotated[Path, typer.Option("--config", "-c", envvar="IDK_CONFIG", help="The configuration.")]


def check(
    config: Config = Path("idk.yaml"),
    example: Annotated[
        Path | None,
        typer.Option(
            help="A file with a request's JSON: show the route that takes it and the passages it contains."
        ),
    ] = None,
    surface: Annotated[
        str, typer.Option(help="The wire format of the example: chat, completions, responses or messages.")
    ] = "chat",
    as_json: Annotated[bool, typer.Option("--json", help="Print the routes as JSON.")] = False,
) -> None:
    """Check a configuration and its policies. No upstream is asked.

    Policies that the configuration names in the store are read from the store.
    """
    from proxy.app import check_writable, concerns, notes, validate
    from proxy.cli.routes import build_from
    from proxy.config import error_prefix, folder_of

    parts = build_from(config)
    folder = folder_of(config)
    with error_prefix(str(config)):
        validate(parts.config, folder, os.environ)
        check_writable(parts.config, folder, os.environ)
        found = list(concerns(parts.config, folder, os.environ))
        noted = [each for each in notes(parts.config, folder, os.environ) if each not in found]
    routes = parts.routes.routes
    if example is not None:
        from proxy.cli import check_example

        check_example.show(example, surface, parts.routes, as_json=as_json)
    elif as_json:
        described = [describe(route) for route in routes]
        print_json({"config": str(config), "routes": described, "warnings": found})
    else:
        print_line(f"{config}: {'can be used, with warnings' if found else 'sound'}")
        for route in routes:
            models = ", ".join(route.config.models)
            print_line(f"  {route.name}: {models} -> {route.upstream.name}, {summary(route)}")
        for concern in found:
            print_line(f"  warning: {concern}")
        for note in noted:
            print_line(f"  note: {note}")


def summary(route: Route) -> str:
    """Summarise what the gate of a route does."""
    config, gate = route.config, route.gate
    if gate is None:
        return "off"
    if route.policy is not None:
        certified = "certified" if gate.certified() else "not certified"
        return f"{config.mode} by policy {route.policy} at confidence {_threshold(gate)}, {certified}"
    if config.score_threshold is not None:
        return f"{config.mode} by {config.scorers[0]} >= {config.score_threshold:g}, uncalibrated"
    return f"{config.mode}, no threshold"


def _threshold(gate: Gate) -> str:
    """Format the threshold in force, or the threshold of each condition."""
    from gating.policy import Policy

    rule = gate.rule
    if gate.threshold is None and isinstance(rule, Policy) and rule.conditions is not None:
        return ", ".join(
            f"{name} {'never' if group.threshold is None else format(group.threshold, '.3g')}"
            for name, group in rule.conditions.groups.items()
        )
    return f"{gate.limit:.3g}"


def describe(route: Route) -> dict[str, object]:
    """Return a route as JSON values."""
    return {
        "name": route.name,
        "models": list(route.config.models),
        "upstream": route.upstream.name,
        "mode": route.config.mode,
        "policy": route.policy,
        "threshold": None if route.gate is None else route.gate.limit,
        "certified": route.gate is not None and route.gate.certified(),
    }
