"""The ASGI application."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from proxy.admin import AdminAccess, admin_routes
from proxy.app.router import Router
from proxy.clients.authentication import Keys
from proxy.clients.limits import Limits
from proxy.config import admin_key
from proxy.gateway.feedback import FeedbackEndpoint
from proxy.gateway.health import Health
from proxy.server import asgi
from proxy.server.asgi import without_chunks
from proxy.server.bodies import Bodies
from proxy.server.body_thread import BodyThread
from proxy.server.forwarded import TrustedProxies
from proxy.server.shutdown import graceful_shutdown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.routing import BaseRoute

    from proxy.app.container import Container
    from proxy.clients.last_used import Uses
    from proxy.control.recording import Recorder
    from proxy.control.reload import Reloader
    from proxy.metrics import Metrics
    from proxy.server.asgi import Message, Receive, Scope, Send
    from proxy.storage.link import StoreLink


@dataclass(frozen=True, slots=True)
class Services:
    """The services that a reload of the configuration does not replace."""

    link: StoreLink
    recorder: Recorder
    uses: Uses
    #: The environment, which may hold the admin key.
    environ: Mapping[str, str] = field(default_factory=dict)
    #: The worker thread for large bodies and the records of their requests.
    body_thread: BodyThread = field(default_factory=BodyThread)
    #: The folder to which relative paths of the configuration refer.
    folder: Path = field(default_factory=Path)


class App:
    """The ASGI application. A reload replaces its container in one assignment while it runs."""

    def __init__(self, container: Container, services: Services | None = None) -> None:
        self.health = Health()
        self._services = services
        self._admin_access: AdminAccess | None = None
        self._limits: Limits | None = None
        self._body_thread = BodyThread() if services is None else services.body_thread
        self._router = self._open(container)
        #: The current router, and older ones that still have requests in flight.
        self._all = [self._router]
        self._closing: set[asyncio.Task[None]] = set()
        self.reloader: Reloader[Container] | None = None
        self._cold = Starlette(lifespan=_lifespan(self))

    @property
    def container(self) -> Container:
        """The container used for new requests; requests in flight keep the one they started with."""
        return self._router.container

    def _open(self, container: Container) -> Router:
        services = self._services
        keys = Keys(
            container.config.keys,
            container.keys,
            required=container.config.server.stored_keys,
            note=None if services is None else services.uses.note,
        )
        feedback = (
            FeedbackEndpoint(keys, container.metrics, None, None)
            if services is None
            else FeedbackEndpoint(keys, container.metrics, services.link, services.recorder)
        )
        limits, admin = self._limited(container), self._admin(container)
        bodies = Bodies(self._body_thread, container.config.server)
        return Router(container, keys, self.health, feedback, limits, bodies, admin)

    def _limited(self, container: Container) -> Limits:
        """Return the limits, which count the requests of all containers together."""
        most, several = (
            container.config.server.max_in_flight,
            len(container.config.keys) + len(container.keys) > 1,
        )
        upstreams = container.config.upstreams
        connections = {
            name: min(upstreams[each].max_connections for each in upstream.of or (name,))
            for name, upstream in upstreams.items()
        }
        if self._limits is None:
            link = None if self._services is None else self._services.link
            self._limits = Limits(link, most, several=several, max_connections=connections)
        else:
            self._limits.bound(most, several=several, max_connections=connections)
        return self._limits

    def _admin(self, container: Container) -> list[BaseRoute]:
        server = container.config.server
        variable = server.admin_key_file or server.admin_key_env
        services = self._services
        key = None if services is None else admin_key(server, services.environ, services.folder)
        proxies = TrustedProxies(server.trusted_proxies)
        link = None if self._services is None else self._services.link
        # An unchanged access is kept, with its counts of wrong keys.
        if self._admin_access is None or not self._admin_access.same(key, variable, proxies):
            self._admin_access = AdminAccess(key, variable, link, proxies=proxies)
        return admin_routes(container.config, container.routes, container.metrics, link, self._admin_access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or lifespan event. A request keeps the container that it started with."""
        if scope["type"] != "http":
            await self._cold(scope, receive, send)
            return
        if scope.get("http_version") == "1.0":
            scope, send = without_chunks(scope, send)
        router = self._router
        router.open += 1
        try:
            await router.find(scope["path"])(scope, receive, _counting(router.container.metrics, scope, send))
        finally:
            router.open -= 1
            if router is not self._router:
                router.left()

    def replace(self, container: Container) -> None:
        """Answer new requests with this container; the old one closes after its last request."""
        old, self._router = self._router, self._open(container)
        self._all.append(self._router)
        task = asyncio.get_running_loop().create_task(self._retire(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _retire(self, old: Router) -> None:
        await old.empty()
        self._all.remove(old)
        if all(router.container.upstreams is not old.container.upstreams for router in self._all):
            await old.container.aclose()

    async def aclose(self) -> None:
        """Close everything; no request is in flight any more."""
        while self._closing:
            await asyncio.gather(*self._closing)
        await self.container.aclose()
        self._body_thread.close()
        if self.container.tracing is not None:
            await asyncio.to_thread(self.container.tracing.close)


def _counting(metrics: Metrics, scope: Scope, send: Send) -> Send:
    """Return a ``Send`` that counts the response by its route, status and error code."""

    def counting(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            route = asgi.header(message.get("headers", ()), b"x-idk-route") or b""
            metrics.responded(route.decode("latin-1"), message["status"], scope.get(asgi.ERROR_CODE, ""))
        return send(message)

    return counting


def _lifespan(app: App) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        reloader = app.reloader
        if reloader is not None:
            await reloader.start()
        app.health.ready = True
        try:
            with graceful_shutdown(app.health.leave, app.container.config.server.drain_lead_s):
                yield
        finally:
            app.health.leave()
            if reloader is not None:
                await reloader.stop()
            await app.aclose()

    return lifespan
