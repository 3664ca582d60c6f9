"""Endpoints off the hot path: probes, metrics, and the list of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from proxy.exceptions import HttpError, NotFound
from proxy.metrics import CONTENT_TYPE
from proxy.server import asgi
from proxy.server.errors import error_body

if TYPE_CHECKING:
    from starlette.requests import Request

    from proxy.clients.authentication import Keys
    from proxy.metrics import Metrics
    from proxy.requests.route import RouteTable

_GLOB = frozenset("*?[")


class Health:
    """Whether the proxy accepts requests: it does not before it has started or while it drains."""

    ready = False

    def leave(self) -> None:
        """Mark the server as draining; readiness probes fail from now on."""
        self.ready = False


def cold_routes(health: Health, metrics: Metrics, routes: RouteTable, keys: Keys) -> list[BaseRoute]:
    """Return Starlette's routes of these endpoints."""

    async def live(_: Request) -> Response:
        return _plain(200, "alive")

    async def ready(_: Request) -> Response:
        return _plain(200, "ready") if health.ready else _plain(503, "not ready")

    async def expose(_: Request) -> Response:
        return Response(metrics.exposition(), headers=_id(), media_type=CONTENT_TYPE)

    async def models(request: Request) -> Response:
        try:
            caller = keys.caller(request.scope["headers"])
            names = _model_names(routes, caller)
            wanted = request.path_params.get("model")
            if wanted is None:
                return JSONResponse(
                    {"object": "list", "data": [_model(name) for name in names]}, headers=_id()
                )
            if wanted not in names:
                raise NotFound("no such model", param="model", code="model_not_found")
            return JSONResponse(_model(wanted), headers=_id())
        except HttpError as exc:
            return Response(error_body(exc), exc.http_status, _id(), "application/json")

    listed = ["/v1/models", "/models", "/v1/models/{model:path}", "/models/{model:path}"]
    return [
        Route("/health", ready),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", expose),
        *[Route(path, models, methods=["GET"]) for path in listed],
    ]


async def not_allowed(_request: Request, _exc: Exception) -> Response:
    """Answer status 405 in the vendor's format; Starlette would answer in plain text."""
    error = HttpError("use GET", status=405, type="invalid_request_error")
    return Response(error_body(error), 405, _id() | {"allow": "GET, HEAD"}, "application/json")


def _model_names(routes: RouteTable, caller: object) -> list[str]:
    """Return what a client may send as ``model``: the routes' names, and their models without a wildcard."""
    names: dict[str, None] = {}
    for route in routes.usable(caller):  # type: ignore[arg-type] # a Caller
        names[route.name] = None
        names |= {model: None for model in route.config.models if not _GLOB & set(model)}
    return list(names)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "idk"}


def _plain(status: int, text: str) -> Response:
    return JSONResponse({"status": text}, status, headers=_id())


def _id() -> dict[str, str]:
    return {"x-request-id": asgi.request_id().decode()}
