"""``idk check --example``: what a request's context is, and what would be asked without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.clients.authentication import Caller
from proxy.exceptions import BadRequest, ConfigError, HttpError
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Ask

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.requests.prompt.context import Found
    from proxy.requests.route import Route, RouteTable
    from proxy.surfaces.contract import Request, Surface


def show(path: Path, surface_name: str, routes: RouteTable, *, as_json: bool) -> None:
    """Print it; raises ConfigError where the example is no request of the surface, or no route takes it."""
    surface = SURFACES.get(surface_name)
    if surface is None:
        raise ConfigError(f"--surface: {surface_name} is unknown; use one of {', '.join(SURFACES)}")
    try:
        request = surface.parse(path.read_bytes())
        route = routes.find(request.model, Caller(None, None))
        found = _found(route, surface, request)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except HttpError as exc:
        raise ConfigError(f"{path}: {exc.message}") from exc
    told = _told(route, surface, found)
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    print(f"{path}: taken by the route {route.name}")
    if found is None:
        print("  no context is found in it: it is answered as any other request")
        return
    for place, passage in enumerate(found.passages, start=1):
        print(f"  passage {place}: {passage!r}")
    for name in ("with", "without"):
        body = told[name]
        shown = "nothing would be left to ask" if body is None else msgspec.json.encode(body).decode()
        print(f"  {name} it: {shown}")


def _found(route: Route, surface: Surface, request: Request) -> Found | None:
    if route.context is not None:
        return route.context.find(surface, request)
    if request.context:
        raise BadRequest(f"the route {route.name} takes no context; set its rag.context")
    return None


def _told(route: Route, surface: Surface, found: Found | None) -> dict[str, object]:
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
