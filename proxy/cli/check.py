"""The command ``idk check``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import print_json, print_line
from proxy.cli.route_summary import describe, route_line

if TYPE_CHECKING:
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
    found += [_TUNE_AGAIN.format(route=route.name) for route in routes if _is_of_older_kind(route)]
    if example is not None:
        from proxy.cli import check_example

        check_example.show(example, surface, parts.routes, as_json=as_json)
    elif as_json:
        described = [describe(route) for route in routes]
        print_json({"config": str(config), "routes": described, "warnings": found})
    else:
        print_line(f"{config}: {'can be used, with warnings' if found else 'sound'}")
        for route in routes:
            print_line(f"  {route_line(route)}")
        for concern in found:
            print_line(f"  warning: {concern}")
        for note in noted:
            print_line(f"  note: {note}")


#: The warning about a policy that was tuned before all request fields were compared.
_TUNE_AGAIN = (
    "routes.{route}.policy: it was tuned before every request field was compared, so its answers are not certified; "
    "evaluate and tune again (idk evaluate, idk tune)"
)


def _is_of_older_kind(route: Route) -> bool:
    """Return whether the route's policy has a fingerprint without the request fields."""
    from gating.fingerprint import is_complete
    from gating.policy import Policy

    rule = None if route.gate is None else route.gate.rule
    return isinstance(rule, Policy) and bool(rule.fingerprint) and not is_complete(rule.fingerprint)
