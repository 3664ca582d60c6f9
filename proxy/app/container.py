"""The container: all objects that one version of the configuration is built into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.admin.access import check_admin_key
from proxy.app.pipelines import RouteDependencies, pipeline_of
from proxy.config import admin_key
from proxy.control.policies import StoreSnapshot
from proxy.gateway import trace_context
from proxy.metrics import InForce, Metrics
from proxy.requests.evidence import LocalModels
from proxy.requests.route import Route, RouteTable, in_order
from proxy.upstreams import Access, accesses, make_upstreams

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.config import Config
    from proxy.config import Route as RouteConfig
    from proxy.gateway.tracing import Tracing
    from proxy.requests.pipeline import Pipeline, Recorder
    from proxy.storage import StoredKey
    from proxy.upstreams.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class Container:
    """The objects of one version of the configuration; a reload builds another container."""

    config: Config
    metrics: Metrics
    routes: RouteTable
    #: The routes' pipelines by the names of the routes.
    pipelines: Mapping[str, Pipeline]
    upstreams: Mapping[str, UpstreamClient]
    #: The addresses and keys that the upstreams were made with.
    access: Mapping[str, Access] = field(repr=False)
    tracing: Tracing | None = None
    #: The models that run in this process.
    local_models: LocalModels = field(default_factory=LocalModels)
    #: The client keys of the store, in addition to the configuration's.
    keys: tuple[StoredKey, ...] = ()

    async def aclose(self) -> None:
        """Close the upstreams' connections."""
        for upstream in self.upstreams.values():
            await upstream.aclose()


def build(
    config: Config,
    *,
    folder: Path,
    environ: Mapping[str, str],
    metrics: Metrics | None = None,
    snapshot: StoreSnapshot | None = None,
    recorder: Recorder | None = None,
    before: Container | None = None,
    tracing: Tracing | None = None,
) -> Container:
    """Build a container; relative paths refer to ``folder``. Raises ConfigError.

    ``snapshot`` is the store's state. ``before`` is the container that the new one replaces: its upstreams are reused,
    with their connections, if their configuration is unchanged, and so are loaded models.
    """
    server = config.server
    check_admin_key(admin_key(server, environ, folder), server.admin_key_file or server.admin_key_env)
    metrics = Metrics() if metrics is None else metrics
    snapshot = StoreSnapshot() if snapshot is None else snapshot
    access = accesses(config.upstreams, environ, folder)
    if before is not None and (before.config.upstreams, before.access) == (config.upstreams, access):
        upstreams = before.upstreams
    else:
        context = trace_context.taken if tracing is None else tracing.headers
        upstreams = make_upstreams(config.upstreams, access, metrics, context)
    local_models = LocalModels() if before is None else before.local_models
    dependencies = RouteDependencies(
        folder, metrics, snapshot, recorder, upstreams, local_models, workers=config.server.workers
    )
    made: dict[str, Pipeline] = {}
    for each in in_order(config.routes):
        made[each.name] = pipeline_of(
            each, upstreams[each.upstream], dependencies, made, _provider(config, each)
        )
    routes = [made[route.name].route for route in config.routes]
    keys = snapshot.keys if server.stored_keys else ()
    metrics.in_force(_in_force(route) for route in routes)
    return Container(
        config, metrics, RouteTable(routes), made, upstreams, access, tracing, local_models, keys
    )


def _in_force(route: Route) -> InForce:
    threshold = None if route.gate is None else route.gate.limit
    return InForce(route.name, route.policy, threshold, route.certified)


def _provider(config: Config, route: RouteConfig) -> str:
    """Return LiteLLM's name of a route's provider; for a pool, that of its first upstream."""
    upstream = config.upstreams[route.upstream]
    if upstream.of:
        upstream = config.upstreams[next(iter(upstream.of))]
    if upstream.litellm is not None:
        return upstream.litellm
    return "anthropic" if upstream.formats == ("messages",) else "openai"
