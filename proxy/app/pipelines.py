"""Pipelines: each route of the configuration with the objects that its requests need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gating.policy import Policy
from proxy.app.gates import gate_of
from proxy.config import Rag, fallback_of
from proxy.exceptions import ConfigError
from proxy.requests.evidence import make_gatherers
from proxy.requests.fields import COMPARED
from proxy.requests.pipeline import Pipeline
from proxy.requests.prompt.additions import load as load_examples
from proxy.requests.prompt.context import finder
from proxy.requests.remedies import Escalate, Rescue
from proxy.requests.route import Route
from proxy.surfaces import SURFACES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gating import Gate
    from proxy.config import Route as RouteConfig
    from proxy.control.policies import StoreSnapshot
    from proxy.metrics import Metrics
    from proxy.requests.evidence import LocalModels
    from proxy.requests.pipeline import Recorder, Remedy
    from proxy.requests.prompt.context import Finder
    from proxy.upstreams.client import UpstreamClient

#: How many alternatives of each token are asked for where a scorer reads them: the most that every vendor gives.
TOP_LOGPROBS = 5


@dataclass(frozen=True, slots=True)
class RouteDependencies:
    """The objects that all routes of an application share."""

    folder: Path
    metrics: Metrics
    snapshot: StoreSnapshot
    recorder: Recorder | None
    upstreams: Mapping[str, UpstreamClient]
    local_models: LocalModels
    workers: int


def pipeline_of(
    config: RouteConfig,
    upstream: UpstreamClient,
    dependencies: RouteDependencies,
    made: Mapping[str, Pipeline],
    provider: str,
) -> Pipeline:
    """Make one route's pipeline; ``made`` holds the pipelines of the routes that it turns to."""
    metrics, snapshot = dependencies.metrics, dependencies.snapshot
    gate, policy = (None, None) if config.mode == "off" else gate_of(config, dependencies.folder, snapshot)
    stronger, judge = (None if name is None else made[name] for name in (config.escalate_to, config.judge))
    context = _context(config, gate)
    route = Route(
        config=config,
        upstream=upstream,
        gate=gate,
        policy=None if policy is None else policy.label,
        version=None if policy is None else policy.version,
        revoked=policy is not None and snapshot.revoked(config, policy.version),
        closed=policy is not None and snapshot.closed(config, policy.version),
        metrics=metrics.route(config.name),
        upstream_metrics=metrics.upstream(upstream.name),
        top_logprobs=TOP_LOGPROBS if gate is not None and "top_logprobs" in gate.needs else 0,
        context=context,
        examples=load_examples(config.rag.examples, dependencies.folder, f"routes.{config.name}.rag.examples")
        if config.rag.examples
        else None,
        forwards_credentials=upstream.forwards_credentials
        or any(other.route.forwards_credentials for other in (stronger, judge) if other is not None),
        provider=provider,
    )
    if route.compares:
        for field in COMPARED:
            route.metrics.unmatched(field, 0)
    if gate is None:
        return Pipeline(route, recorder=dependencies.recorder)
    return Pipeline(
        route,
        gatherers=make_gatherers(
            gate,
            config,
            workers=dependencies.workers,
            chat=SURFACES["chat"],
            upstreams=dependencies.upstreams,
            local_models=dependencies.local_models,
            judge=None if judge is None else judge.route,
        ),
        remedies=_remedies(config, stronger),
        lower=None if config.fallback is None else _lower(config, upstream, dependencies, made, provider),
        recorder=dependencies.recorder,
    )


def _lower(
    config: RouteConfig,
    upstream: UpstreamClient,
    dependencies: RouteDependencies,
    made: Mapping[str, Pipeline],
    provider: str,
) -> Pipeline:
    """Make the pipeline of a route's fallback; raises ConfigError if its scorers read logprobs too."""
    found = pipeline_of(fallback_of(config), upstream, dependencies, made, provider)
    if found.route.reads_logprobs:
        raise ConfigError(
            f"routes.{config.name}.fallback.scorers: {config.fallback.scorers[0] if config.fallback else ''} reads "
            "logprobs, which are missing where it is needed; name a scorer of samples, as [agreement]"
        )
    return found


def _context(config: RouteConfig, gate: Gate | None) -> Finder | None:
    """Return what finds a request's context; raises ConfigError if the policy needs it and it is not configured."""
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


def _remedies(config: RouteConfig, stronger: Pipeline | None) -> tuple[Remedy, ...]:
    """Return the remedies in the order of their cost: the same model without context, then a stronger model."""
    rescue: tuple[Remedy, ...] = (Rescue(config.rag.instruct),) if config.rag.rescue else ()
    return rescue if stronger is None else (*rescue, Escalate(stronger))
