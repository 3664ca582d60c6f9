"""The output of ``idk check --example``: the passages of a request, and the request without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.cli.output import print_json, print_line
from proxy.clients.authentication import Caller
from proxy.exceptions import BadRequest, ConfigError, HttpError
from proxy.requests.matching import match_of
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Ask
from proxy.surfaces.field_table import SAMPLING

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.requests.matching import Match
    from proxy.requests.prompt.context import Found
    from proxy.requests.route import Route, RouteTable
    from proxy.surfaces.contract import Request, Surface


def show(path: Path, surface_name: str, routes: RouteTable, *, as_json: bool) -> None:
    """Print what a route makes of the request in ``path``; raise ConfigError if none takes it."""
    surface = SURFACES.get(surface_name)
    if surface is None:
        raise ConfigError(
            f"--surface: {surface_name!r} is not a wire format; use one of {', '.join(SURFACES)}"
        )
    try:
        request = surface.parse(path.read_bytes())
        route = routes.find(request.model, Caller(None, None))
        found = _found(route, surface, request)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except HttpError as exc:
        raise ConfigError(f"{path}: {exc.message}") from exc
    match = match_of(
        route,
        request if found is None else found.request,
        surface.name,
        None if found is None else found.without,
    )
    shown = {**_values(route, surface, found), "judged": match.applies, "detail": match.detail}
    if as_json:
        print_json(shown)
        return
    print_line(f"{path}: taken by the route {route.name}")
    if match.detail is not None:
        print_line(f"  {match.detail}")
        print_line(f"  {_fix(match)}")
    if found is None:
        print_line("  it contains no passages and is answered like any other request")
        return
    for place, passage in enumerate(found.passages, start=1):
        print_line(f"  passage {place}: {passage!r}")
    for name in ("with", "without"):
        body = shown[name]
        text = "no question is left" if body is None else msgspec.json.encode(body).decode()
        print_line(f"  {name} passages: {text}")


def _fix(match: Match) -> str:
    """Say what to do about the differences of a request."""
    if match.closed:
        return "label more answers and tune again"
    if not match.differences:
        return "the answer is judged with the policy's values, and can be certified (match: pin)"
    if all(each.field in SAMPLING for each in match.differences):
        return "send the policy's values, set `match: pin`, or label answers to such requests and tune again"
    return "send the policy's values, or label answers to such requests and tune again"


def _found(route: Route, surface: Surface, request: Request) -> Found | None:
    if route.context is not None:
        return route.context.find(surface, request)
    if request.context:
        raise BadRequest(f"the route {route.name} reads no passages; set its rag.context")
    return None


def _values(route: Route, surface: Surface, found: Found | None) -> dict[str, object]:
    """Return the route, the passages, and the request with and without them as JSON values."""

    def asked(request: Request | None) -> object:
        if request is None:
            return None
        ask = Ask(route.config.model, route.config.params, logprobs=False, top_logprobs=0)
        return msgspec.json.decode(surface.outgoing(request, ask))

    return {
        "route": route.name,
        "context": None if found is None else list(found.passages),
        "with": None if found is None else asked(found.request),
        "without": None if found is None else asked(found.without),
    }
