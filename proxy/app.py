"""The one place where objects are made and joined: a checked configuration becomes an ASGI application."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from gating import SCORERS, Gate
from gating.gate import Uncalibrated, tightened
from gating.policy import Policy
from gating.types import GatingError
from proxy.admin import Guard, admin_routes
from proxy.auth import Keys
from proxy.config import Rag, lower
from proxy.context import finder
from proxy.endpoint import GatedEndpoint
from proxy.examples import load as load_examples
from proxy.exceptions import ConfigError
from proxy.feedback import FeedbackEndpoint
from proxy.gathering import Benches, gatherers_of
from proxy.health import Health, cold_routes, not_allowed
from proxy.keeper import Keeper
from proxy.leaving import leaving
from proxy.limits import Limits
from proxy.metrics import Metrics
from proxy.passthrough import Relay
from proxy.policies import Known, policy_of, store_of
from proxy.recording import Recorder, StoreLink
from proxy.remedies import Escalate, Rescue
from proxy.routing import Route, RouteTable, in_order
from proxy.surfaces import OVER_CHAT, SURFACES
from proxy.tracing import Tracing
from proxy.upstreams import make_upstreams
from proxy.watching import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from starlette.routing import BaseRoute

    from proxy.asgi import Receive, Scope, Send
    from proxy.config import Config
    from proxy.config import Route as RouteConfig
    from proxy.context import Finder
    from proxy.keeper import Source
    from proxy.policies import Alarm, Loaded
    from proxy.remedies import Remedy
    from proxy.storage import StoredKey
    from proxy.upstreams.client import UpstreamClient

    Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]

#: How many alternatives of each token are asked for where a scorer reads them: the most that every vendor gives.
TOP_LOGPROBS = 5
#: What an observing route without scorers reads.
_DEFAULT_SCORER = "mean_logprob"
_SLASHES = re.compile(r"/+")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a configuration was built into."""

    config: Config
    metrics: Metrics
    routes: RouteTable
    upstreams: Mapping[str, UpstreamClient]
    tracing: Tracing | None = None
    #: The models that work in this process.
    benches: Benches = field(default_factory=Benches)
    #: Those of the store, beside the configuration's.
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
    known: Known | None = None,
    recorder: Recorder | None = None,
    before: Parts | None = None,
    tracing: Tracing | None = None,
) -> Parts:
    """Make every part; ``folder`` is where relative policy files stand. Raises ConfigError.

    ``known`` is what the store says; ``before`` the parts that these shall take the place of: upstreams whose
    configuration is the same stay as they are, with their connections, and so do models that were read.
    """
    metrics = Metrics() if metrics is None else metrics
    known = Known() if known is None else known
    if before is not None and before.config.upstreams == config.upstreams:
        upstreams = before.upstreams
    else:
        context = None if tracing is None else tracing.headers
        upstreams = make_upstreams(config.upstreams, environ, metrics, context)
    benches = Benches() if before is None else before.benches
    joining = Joining(folder, metrics, known, recorder, upstreams, benches, workers=config.server.workers)
    made: dict[str, Route] = {}
    for each in in_order(config.routes):
        made[each.name] = _route(each, upstreams[each.upstream], joining, made, _provider(config, each))
    routes = [made[route.name] for route in config.routes]
    metrics.in_force(routes)
    return Parts(config, metrics, RouteTable(routes), upstreams, tracing, benches, known.keys)


@dataclass(frozen=True, slots=True)
class Joining:
    """What every route of an application is made with."""

    folder: Path
    metrics: Metrics
    known: Known
    recorder: Recorder | None
    upstreams: Mapping[str, UpstreamClient]
    benches: Benches
    workers: int


def _route(
    config: RouteConfig,
    upstream: UpstreamClient,
    joining: Joining,
    made: Mapping[str, Route],
    provider: str,
) -> Route:
    """One route; ``made`` holds those that it turns to."""
    metrics, known = joining.metrics, joining.known
    gate, policy = (None, None) if config.mode == "off" else _gate(config, joining.folder, known)
    stronger, judge = (None if name is None else made[name] for name in (config.escalate_to, config.judge))
    context = _context(config, gate)
    return Route(
        config=config,
        upstream=upstream,
        gate=gate,
        policy=None if policy is None else policy.label,
        version=None if policy is None else policy.version,
        revoked=policy is not None and known.revoked(config.name, policy.version),
        closed=policy is not None
        and config.on_alarm == "abstain"
        and known.refuted_by_audit(config.name, policy.version),
        recorder=joining.recorder,
        metrics=metrics.route(config.name),
        upstream_metrics=metrics.upstream(upstream.name),
        top_logprobs=TOP_LOGPROBS if gate is not None and "top_logprobs" in gate.needs else 0,
        gatherers=()
        if gate is None
        else gatherers_of(
            gate,
            config,
            workers=joining.workers,
            chat=SURFACES["chat"],
            upstreams=joining.upstreams,
            benches=joining.benches,
            judge=judge,
        ),
        lower=None
        if gate is None or config.fallback is None
        else _lower(config, upstream, joining, made, provider),
        remedies=() if gate is None else _remedies(config, stronger),
        context=context,
        examples=load_examples(config.rag.examples, joining.folder, f"routes.{config.name}.rag.examples")
        if config.rag.examples
        else None,
        forwards_credentials=upstream.forwards_credentials
        or any(other.forwards_credentials for other in (stronger, judge) if other is not None),
        provider=provider,
    )


def _provider(config: Config, route: RouteConfig) -> str:
    """LiteLLM's name of a route's provider; of several upstreams in one, the first's."""
    upstream = config.upstreams[route.upstream]
    if upstream.of:
        upstream = config.upstreams[next(iter(upstream.of))]
    if upstream.litellm is not None:
        return upstream.litellm
    return "anthropic" if upstream.formats == ("messages",) else "openai"


def _lower(
    config: RouteConfig,
    upstream: UpstreamClient,
    joining: Joining,
    made: Mapping[str, Route],
    provider: str,
) -> Route:
    """The route by its fallback; raises ConfigError where that reads what the route's gate may have missed."""
    found = _route(lower(config), upstream, joining, made, provider)
    if found.gate is not None and found.gate.needs & {"logprobs", "top_logprobs"}:
        raise ConfigError(
            f"routes.{config.name}.fallback.scorers: {config.fallback.scorers[0] if config.fallback else ''} reads "
            "logprobs, which are missing where it is needed; name a scorer of samples, as [agreement]"
        )
    return found


def _context(config: RouteConfig, gate: Gate | None) -> Finder | None:
    """Where the route's requests have their context; raises ConfigError where a policy needs to know it."""
    place = f"routes.{config.name}"
    found = None if config.rag == Rag() else finder(config.rag.context, config.rag.template, f"{place}.rag")
    rule = gate.rule if gate is not None else None
    conditional = isinstance(rule, Policy) and rule.conditions is not None
    if conditional and (found is None or not found.tells):
        raise ConfigError(
            f"{place}.rag.context: the policy tells answers with passages from those without; say where a "
            "request has them, or `request` where only its own idk.context brings any"
        )
    if gate is not None and "closed_book" in gate.needs and found is None:
        raise ConfigError(
            f"{place}.rag.context: the gate reads the answer without context; say where a request has it"
        )
    return found


def _remedies(config: RouteConfig, stronger: Route | None) -> tuple[Remedy, ...]:
    """In the order in which they are tried: the same model without the context costs less than a stronger one."""
    rescue: tuple[Remedy, ...] = (Rescue(config.rag.instruct),) if config.rag.rescue else ()
    return rescue if stronger is None else (*rescue, Escalate(stronger))


def _gate(config: RouteConfig, folder: Path, known: Known) -> tuple[Gate, Loaded | None]:
    place = f"routes.{config.name}"
    if config.policy is None:
        scorer = SCORERS[config.scorers[0] if config.scorers else _DEFAULT_SCORER]
        rule = Uncalibrated(scorer, config.score_threshold)
        return Gate(rule, on_unmeasured=config.on_unmeasured), None
    loaded = policy_of(config, folder, known)
    policy = loaded.policy
    try:
        gate = Gate(policy, threshold=config.threshold, on_unmeasured=config.on_unmeasured)
    except GatingError as exc:
        raise ConfigError(f"{place}: {exc}") from exc
    return _alarmed(gate, config, known.alarm(config.name, loaded.version)), loaded


def _alarmed(gate: Gate, config: RouteConfig, alarm: Alarm | None) -> Gate:
    """The gate as the route wants it once labels have refuted its policy's certificate."""
    if alarm is None or not alarm.by_audit or config.on_alarm == "warn":
        return gate
    if config.on_alarm == "abstain":
        return Gate(gate.rule, gate.threshold, on_unmeasured="abstain")  # Route.applies says no from now on
    if alarm.threshold is None or gate.limit is None:
        return gate
    return tightened(gate, alarm.threshold)


@dataclass(frozen=True, slots=True)
class Setting:
    """What an application is made from; plain values, which go to other processes as they are.

    ``known`` is what the store said before; ``source`` the file to follow, if there is one.
    """

    config: Config
    folder: Path
    known: Known = field(default_factory=Known)
    source: Source | None = None


def application(setting: Setting, environ: Mapping[str, str], metrics: Metrics | None = None) -> App:
    """An application with its store, which keeps itself up to date while it runs. Raises ConfigError."""
    metrics = Metrics() if metrics is None else metrics
    config = setting.config
    link = StoreLink(store_of(config, setting.folder, environ), metrics)
    recorder = Recorder(link, Random(), log_text=config.server.log_text)  # noqa: S311 - nobody gains by guessing
    lasting = partial(
        build,
        folder=setting.folder,
        environ=environ,
        metrics=metrics,
        recorder=recorder,
        tracing=Tracing() if config.server.opentelemetry else None,
    )
    app = App(lasting(config, known=setting.known), Lasting(link, recorder, environ))
    app.keeper = Keeper(
        config,
        setting.known,
        setting.source,
        link=link,
        recorder=recorder,
        watch=Watch(link, metrics),
        metrics=metrics,
        routes=lambda: app.parts.routes.routes,
        apply=lambda config, known: app.replace(lasting(config, known=known, before=app.parts)),
    )
    return app


@dataclass(frozen=True, slots=True)
class Lasting:
    """What stays while the parts are replaced."""

    link: StoreLink
    recorder: Recorder
    #: Where the admin key is, by the name that the configuration gives.
    environ: Mapping[str, str] = field(default_factory=dict)


class Doors:
    """The paths of one set of parts: gated ones by a look-up, everything else by Starlette."""

    def __init__(
        self,
        parts: Parts,
        keys: Keys,
        health: Health,
        feedback: Endpoint,
        limits: Limits,
        admin: Sequence[BaseRoute],
    ) -> None:
        server, routes = parts.config.server, parts.routes
        relay = Relay(routes, keys, server, limits)
        self.parts = parts
        #: How many requests are under way.
        self.open = 0
        self._left: asyncio.Event | None = None
        self._gated: dict[str, Endpoint] = dict.fromkeys(("/v1/feedback", "/feedback"), feedback)
        for surface in SURFACES.values():
            over_chat = OVER_CHAT.get(surface.name)
            endpoint = GatedEndpoint(surface, over_chat, routes, keys, relay, server, limits, parts.tracing)
            self._gated |= {surface.path: endpoint, f"/v1{surface.path}": endpoint}
        self._cold = Starlette(
            routes=[*cold_routes(health, parts.metrics, routes, keys), *admin],
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
        """What answers requests for a path; other origins' pages are told first whether they may ask."""
        return self._of_path(path) if self._cors is None else self._cors

    def _of_path(self, path: str) -> Endpoint:
        return self._gated.get(path) or self._gated.get(_plain(path)) or self._cold

    def left(self) -> None:
        """A request has ended, and no new one comes in."""
        if self._left is not None and not self.open:
            self._left.set()

    async def empty(self) -> None:
        """Wait until the last request under way has ended; no new one may come in."""
        self._left = asyncio.Event()
        self.left()
        await self._left.wait()


class App:
    """The ASGI application; what it is made of can be replaced while it runs, in one assignment."""

    def __init__(self, parts: Parts, lasting: Lasting | None = None) -> None:
        self.health = Health()
        self._lasting = lasting
        self._guard: Guard | None = None
        self._limits: Limits | None = None
        self._doors = self._open(parts)
        #: Those that still have requests under way, and the present ones.
        self._all = [self._doors]
        self._closing: set[asyncio.Task[None]] = set()
        self.keeper: Keeper | None = None
        self._cold = Starlette(lifespan=_lifespan(self))

    @property
    def parts(self) -> Parts:
        """Those that new requests are answered with."""
        return self._doors.parts

    def _open(self, parts: Parts) -> Doors:
        lasting = self._lasting
        keys = Keys(parts.config.keys, parts.keys, required=parts.config.server.stored_keys)
        feedback = (
            FeedbackEndpoint(keys, parts.metrics, None, None)
            if lasting is None
            else FeedbackEndpoint(keys, parts.metrics, lasting.link, lasting.recorder)
        )
        return Doors(parts, keys, self.health, feedback, self._limited(parts), self._admin(parts))

    def _limited(self, parts: Parts) -> Limits:
        """One count of what is under way, whichever parts it began with."""
        most, several = parts.config.server.max_in_flight, len(parts.config.keys) + len(parts.keys) > 1
        if self._limits is None:
            link = None if self._lasting is None else self._lasting.link
            self._limits = Limits(link, most, several=several)
        else:
            self._limits.bound(most, several=several)
        return self._limits

    def _admin(self, parts: Parts) -> list[BaseRoute]:
        variable = parts.config.server.admin_key_env
        key = None if self._lasting is None else self._lasting.environ.get(variable)
        if self._guard is None or not self._guard.same(key, variable):
            self._guard = Guard(key, variable)  # else it keeps what it knows of failures
        link = None if self._lasting is None else self._lasting.link
        return admin_routes(parts.config, parts.routes, parts.metrics, link, self._guard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's event; a request ends with the parts that it began with."""
        if scope["type"] != "http":
            await self._cold(scope, receive, send)
            return
        doors = self._doors
        doors.open += 1
        try:
            await doors.find(scope["path"])(scope, receive, send)
        finally:
            doors.open -= 1
            if doors is not self._doors:
                doors.left()

    def replace(self, parts: Parts) -> None:
        """Answer new requests with these parts; the old ones close after their last request."""
        old, self._doors = self._doors, self._open(parts)
        self._all.append(self._doors)
        task = asyncio.get_running_loop().create_task(self._retire(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _retire(self, old: Doors) -> None:
        await old.empty()
        self._all.remove(old)
        if all(doors.parts.upstreams is not old.parts.upstreams for doors in self._all):
            await old.parts.aclose()

    async def aclose(self) -> None:
        """Close everything; no request is under way any more."""
        while self._closing:
            await asyncio.gather(*self._closing)
        await self.parts.aclose()
        if self.parts.tracing is not None:
            await asyncio.to_thread(self.parts.tracing.close)


def _plain(path: str) -> str:
    """Without doubled and trailing slashes, which upstreams overlook: a gate must too."""
    return _SLASHES.sub("/", path).rstrip("/")


def _lifespan(app: App) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        keeper = app.keeper
        if keeper is not None:
            await keeper.start()
        app.health.ready = True
        try:
            with leaving(app.health.leave, app.parts.config.server.drain_lead_s):
                yield
        finally:
            app.health.leave()
            if keeper is not None:
                await keeper.stop()
            await app.aclose()

    return lifespan
