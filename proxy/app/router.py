"""The router: finds the endpoint that answers a path."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from proxy.gateway.endpoint import GatedEndpoint
from proxy.gateway.health import cold_routes, not_allowed
from proxy.gateway.passthrough import Relay
from proxy.gateway.paths import UngatedPaths
from proxy.surfaces import OVER_CHAT, SURFACES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.routing import BaseRoute

    from proxy.app.container import Container
    from proxy.clients.authentication import Keys
    from proxy.clients.limits import Limits
    from proxy.gateway.health import Health
    from proxy.server.asgi import Receive, Scope, Send
    from proxy.server.bodies import Bodies

    Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]

_SLASHES = re.compile(r"/+")


class Router:
    """The endpoints of one container: gated paths by a look-up, all other paths by Starlette."""

    def __init__(
        self,
        container: Container,
        keys: Keys,
        health: Health,
        feedback: Endpoint,
        limits: Limits,
        bodies: Bodies,
        admin: Sequence[BaseRoute],
    ) -> None:
        server, routes = container.config.server, container.routes
        relay = Relay(routes, keys, limits, bodies, UngatedPaths(container.config))
        self.container = container
        #: The number of requests in flight.
        self.open = 0
        self._left: asyncio.Event | None = None
        self._gated: dict[str, Endpoint] = dict.fromkeys(("/v1/feedback", "/feedback"), feedback)
        for surface in SURFACES.values():
            over_chat = OVER_CHAT.get(surface.name)
            endpoint = GatedEndpoint(
                surface,
                over_chat,
                routes,
                container.pipelines,
                keys,
                relay,
                server,
                limits,
                bodies,
                container.tracing,
            )
            self._gated |= {surface.path: endpoint, f"/v1{surface.path}": endpoint}
        self._cold = Starlette(
            routes=[*cold_routes(health, container.metrics, routes, keys), *admin],
            exception_handlers={405: not_allowed},
        )
        self._cold.router.default = relay
        self._cors = (
            None
            if not server.cors_origins
            else CORSMiddleware(
                self._found,
                allow_origins=server.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("*",),
                expose_headers=(
                    "x-request-id",
                    "x-idk-route",
                    "x-idk-decision",
                    "x-idk-confidence",
                    "x-idk-reason",
                ),
            )
        )

    async def _found(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._of_path(scope["path"])(scope, receive, send)

    def find(self, path: str) -> Endpoint:
        """Return the endpoint of a path, behind the CORS middleware if origins are configured."""
        return self._of_path(path) if self._cors is None else self._cors

    def _of_path(self, path: str) -> Endpoint:
        return self._gated.get(path) or self._gated.get(_plain(path)) or self._cold

    def left(self) -> None:
        """Note that a request has ended; no new one arrives."""
        if self._left is not None and not self.open:
            self._left.set()

    async def empty(self) -> None:
        """Wait until the last request in flight has ended; no new one may arrive."""
        self._left = asyncio.Event()
        self.left()
        await self._left.wait()


def _plain(path: str) -> str:
    """Return the path without doubled and trailing slashes, which upstreams ignore too."""
    return _SLASHES.sub("/", path).rstrip("/")
