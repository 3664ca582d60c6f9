"""The one place where objects are made and joined: a checked configuration becomes an ASGI application."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from gating import SCORERS, Gate, Policy
from gating.gate import Uncalibrated
from gating.types import GatingError
from proxy.auth import Keys
from proxy.endpoint import GatedEndpoint
from proxy.exceptions import ConfigError
from proxy.health import Health, cold_routes, not_allowed
from proxy.metrics import Metrics
from proxy.passthrough import Relay
from proxy.routing import Route, RouteTable
from proxy.surfaces import SURFACES
from proxy.upstreams import make_upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gating.scorers import Need
    from proxy.asgi import Receive, Scope, Send
    from proxy.config import Config
    from proxy.config import Route as RouteConfig
    from proxy.upstreams.client import UpstreamClient

#: How many alternatives of each token are asked for where a scorer reads them: the most that every vendor gives.
TOP_LOGPROBS = 5
#: What an observing route without scorers reads.
_DEFAULT_SCORER = "mean_logprob"
#: The kinds of evidence that the pipeline brings in.
_GATHERED: frozenset[str] = frozenset({"logprobs", "top_logprobs"})
_SLASHES = re.compile(r"/+")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a configuration was built into."""

    config: Config
    metrics: Metrics
    routes: RouteTable
    upstreams: Mapping[str, UpstreamClient]

    async def aclose(self) -> None:
        """Close the upstreams' connections."""
        for upstream in self.upstreams.values():
            await upstream.aclose()


def build(
    config: Config, *, folder: Path, environ: Mapping[str, str], metrics: Metrics | None = None
) -> Parts:
    """Make every part; ``folder`` is where relative policy files stand. Raises ConfigError."""
    metrics = Metrics() if metrics is None else metrics
    upstreams = make_upstreams(config.upstreams, environ, metrics)
    routes = [_route(route, upstreams[route.upstream], folder, metrics) for route in config.routes]
    return Parts(config, metrics, RouteTable(routes), upstreams)


def _route(config: RouteConfig, upstream: UpstreamClient, folder: Path, metrics: Metrics) -> Route:
    gate, policy = (None, None) if config.mode == "off" else _gate(config, folder)
    route_metrics = metrics.route(config.name)
    if gate is not None:
        route_metrics.policy(policy, gate.limit, certified=gate.certified())
    return Route(
        config=config,
        upstream=upstream,
        gate=gate,
        policy=policy,
        metrics=route_metrics,
        upstream_metrics=metrics.upstream(upstream.name),
        top_logprobs=TOP_LOGPROBS if gate is not None and "top_logprobs" in gate.needs else 0,
    )


def _gate(config: RouteConfig, folder: Path) -> tuple[Gate, str | None]:
    place = f"routes.{config.name}"
    if config.policy is None:
        scorer = SCORERS[config.scorers[0] if config.scorers else _DEFAULT_SCORER]
        _check_gathered(scorer.needs, f"{place}.scorers: {scorer.name} reads", "name a logprob scorer")
        rule = Uncalibrated(scorer, config.score_threshold)
        return Gate(rule, on_unmeasured=config.on_unmeasured), None
    policy = load_policy(folder / config.policy, f"{place}.policy")
    _check_gathered(policy.needs, f"{place}.policy: its scorers read", "tune it with logprob scorers")
    try:
        gate = Gate(policy, threshold=config.threshold, on_unmeasured=config.on_unmeasured)
    except GatingError as exc:
        raise ConfigError(f"{place}: {exc}") from exc
    return gate, policy.name


def _check_gathered(needs: frozenset[Need], who_reads: str, mend: str) -> None:
    """Refuse a gate that would never measure anything: an observing one would look as if it did."""
    unknown = needs - _GATHERED
    if unknown:
        raise ConfigError(
            f"{who_reads} {', '.join(sorted(unknown))}, which this version does not gather; {mend}"
        )


def load_policy(path: Path, place: str) -> Policy:
    """Read a policy's file; raises ConfigError, which names ``place`` and the file."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigError(f"{place}: {path}: no such file; `idk tune` writes one") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{place}: {path}: not a policy: {exc}") from exc
    if not isinstance(saved, dict):
        raise ConfigError(f"{place}: {path}: not a policy: a JSON object is expected; `idk tune` writes one")
    try:
        return Policy.load(saved)
    except GatingError as exc:
        raise ConfigError(f"{place}: {path}: {exc}") from exc


class App:
    """The ASGI application: gated paths by a look-up, everything else by Starlette."""

    def __init__(self, parts: Parts) -> None:
        server, routes = parts.config.server, parts.routes
        keys = Keys(parts.config.keys)
        relay = Relay(routes, keys, server)
        self.health = Health()
        self._gated: dict[str, GatedEndpoint] = {}
        for surface in SURFACES.values():
            endpoint = GatedEndpoint(surface, routes, keys, relay, server)
            self._gated |= {surface.path: endpoint, f"/v1{surface.path}": endpoint}
        self._cold = Starlette(
            routes=cold_routes(self.health, parts.metrics, routes, keys),
            lifespan=_lifespan(parts, self.health),
            exception_handlers={405: not_allowed},
        )
        self._cold.router.default = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's event."""
        if scope["type"] == "http":
            path = scope["path"]
            door = self._gated.get(path) or self._gated.get(_plain(path))
            if door is not None:
                await door(scope, receive, send)
                return
        await self._cold(scope, receive, send)


def _plain(path: str) -> str:
    """Without doubled and trailing slashes, which upstreams overlook: a gate must too."""
    return _SLASHES.sub("/", path).rstrip("/")


def _lifespan(parts: Parts, health: Health) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        health.ready = True
        try:
            yield
        finally:
            health.ready = False
            await parts.aclose()

    return lifespan
