"""The Prometheus metrics, on a registry that is passed in; label values come from the configuration only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gating.types import Decision

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: The environment variable that names prometheus_client's multiprocess directory; it is read on import.
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"

#: Tenths are as precise as a calibrated confidence is.
_CONFIDENCE = tuple(step / 10 for step in range(1, 11))
#: A completion takes from 0.1 s to minutes.
_REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
#: The proxy itself takes a fraction of a millisecond.
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family: its type, name, help text and labels, and the buckets or the mode of its type."""

    type: type[Counter] | type[Gauge] | type[Histogram]
    name: str
    help: str
    labels: tuple[str, ...]
    #: The keyword arguments of the type: ``buckets`` of a histogram, ``multiprocess_mode`` of a gauge.
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
        """Register the family."""
        return self.type(self.name, self.help, self.labels, registry=registry, **self.options)


def _seconds(buckets: tuple[float, ...]) -> dict[str, Any]:
    return {"buckets": buckets}


_LATEST: Final[Mapping[str, Any]] = {"multiprocess_mode": "livemostrecent"}
_HIGHEST: Final[Mapping[str, Any]] = {"multiprocess_mode": "livemax"}
_LOWEST: Final[Mapping[str, Any]] = {"multiprocess_mode": "livemin"}
_ROUTE: Final = ("route",)

#: Every family, by the attribute of ``Metrics`` that holds it.
FAMILIES: Final[Mapping[str, Family]] = {
    "requests": Family(Counter, "idk_requests", "Gated choices.", ("route", "decision", "reason")),
    "sources": Family(
        Counter, "idk_evidence", "Gated choices by the source of their score.", ("route", "source")
    ),
    "confidence": Family(
        Histogram, "idk_confidence", "Calibrated confidence.", _ROUTE, _seconds(_CONFIDENCE)
    ),
    "threshold": Family(Gauge, "idk_threshold", "The threshold in force.", _ROUTE, _HIGHEST),
    "policy": Family(
        Gauge, "idk_policy_info", "The policy in force.", ("route", "policy", "certified"), _HIGHEST
    ),
    "request_s": Family(
        Histogram,
        "idk_request_duration_seconds",
        "From the request to the end of the answer.",
        _ROUTE,
        _seconds(_REQUEST_S),
    ),
    "upstream_s": Family(
        Histogram,
        "idk_upstream_duration_seconds",
        "Waiting for the upstream.",
        ("upstream",),
        _seconds(_REQUEST_S),
    ),
    "overhead_s": Family(
        Histogram, "idk_overhead_seconds", "Time in the proxy itself.", _ROUTE, _seconds(_OVERHEAD_S)
    ),
    "errors": Family(Counter, "idk_upstream_errors", "Failures of upstreams.", ("upstream", "kind")),
    "abilities": Family(
        Gauge,
        "idk_upstream_abilities",
        "1 if the upstream accepts the ability; 0 if a probe found a model or kind of request without it.",
        ("upstream", "ability"),
        _LOWEST,
    ),
    "cancelled": Family(
        Counter, "idk_upstream_cancelled", "Upstream calls that were cancelled.", ("route", "cause")
    ),
    "extra": Family(Counter, "idk_extra_tokens", "Tokens of further calls.", ("route", "kind")),
    "saved": Family(
        Counter,
        "idk_saved_tokens",
        "Upper bound of the tokens that cancelled calls saved, where the request limits its answer.",
        _ROUTE,
    ),
    "feedback": Family(Counter, "idk_feedback", "Labels given by clients.", ("route", "label")),
    "store_errors": Family(
        Counter, "idk_store_errors", "Failures of the store, and dropped records.", ("operation",)
    ),
    "observed_risk": Family(
        Gauge,
        "idk_observed_risk",
        "Share of wrong answers among the served answers with a label.",
        _ROUTE,
        _LATEST,
    ),
    "alarm": Family(
        Gauge,
        "idk_risk_alarm",
        "Whether the certificate is revoked: labels refute it, or confidences have drifted (on_drift).",
        _ROUTE,
        _LATEST,
    ),
    "drift": Family(Gauge, "idk_drift", "How far confidences have drifted.", _ROUTE, _LATEST),
    "unmatched": Family(
        Counter,
        "idk_unmatched",
        "Requests that differ from the policy's labels, by the field that differs.",
        ("route", "field"),
    ),
    "rescues": Family(
        Counter,
        "idk_rescues",
        "Questions asked again without their context: served, abstained or failed.",
        ("route", "outcome"),
    ),
    "responses": Family(
        Counter,
        "idk_responses",
        "Responses of every path; `code` is the error's, and empty without an error of the proxy's own.",
        ("route", "status", "code"),
    ),
    "build": Family(Gauge, "idk_build_info", "The running version.", ("version",), _HIGHEST),
    "reloads": Family(Counter, "idk_config_reloads", "Reloads of the configuration.", ("outcome",)),
}


class InForce(NamedTuple):
    """What a route judges by: the policy's label, the threshold on the confidence, and whether it is certified."""

    route: str
    policy: str | None
    threshold: float | None
    certified: bool


class Metrics:
    """Every family on one registry; ``directory`` is the multiprocess directory where several workers share one."""

    requests: Counter
    sources: Counter
    confidence: Histogram
    threshold: Gauge
    policy: Gauge
    request_s: Histogram
    upstream_s: Histogram
    overhead_s: Histogram
    errors: Counter
    abilities: Gauge
    cancelled: Counter
    extra: Counter
    saved: Counter
    feedback: Counter
    store_errors: Counter
    observed_risk: Gauge
    alarm: Gauge
    drift: Gauge
    rescues: Counter
    unmatched: Counter
    responses: Counter
    build: Gauge
    reloads: Counter

    def __init__(self, registry: CollectorRegistry | None = None, *, directory: str | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._directory = directory
        self._routes: dict[str, RouteMetrics] = {}
        for attribute, family in FAMILIES.items():
            setattr(self, attribute, family.make(self.registry))
        self._responses: dict[tuple[str, int, str], Counter] = {}
        self.build.labels(version("idk-proxy")).set(1)

    def route(self, name: str) -> RouteMetrics:
        """Return the metrics of one route, resolved once: a look-up by labels costs three times an increment."""
        found = self._routes.get(name)
        if found is None:
            found = self._routes[name] = RouteMetrics(self, name)
        return found

    def responded(self, route: str, status: int, code: str) -> None:
        """Count a response; ``route`` is empty where the request was refused before it had one."""
        key = (route, status, code)
        found = self._responses.get(key)
        if found is None:
            found = self._responses[key] = self.responses.labels(route, str(status), code)
        found.inc()

    def in_force(self, routes: Iterable[InForce]) -> None:
        """Show the policies and thresholds of these routes, and remove those of every other route."""
        names = set()
        for each in routes:
            names.add(each.route)
            self.route(each.route).policy(each.policy, each.threshold, certified=each.certified)
        for name, metrics in self._routes.items():
            if name not in names:
                metrics.policy(None, None, certified=False)

    @property
    def several(self) -> bool:
        """Whether the metrics of several processes are summed: a gauge can then be zeroed but not removed."""
        return self._directory is not None

    def upstream(self, name: str) -> UpstreamMetrics:
        """Return the metrics of one upstream."""
        return UpstreamMetrics(self, name)

    def exposition(self) -> bytes:
        """Return the registry in Prometheus's text format, summed over all worker processes."""
        return generate_latest(self._summed())

    def counted(self, name: str, **labels: str) -> float | None:
        """Return the sum of a counter's samples that have these labels, over all processes; None without a sample."""
        wanted = labels.items()
        found = [
            sample.value
            for family in self._summed().collect()
            for sample in family.samples
            if sample.name == name and wanted <= sample.labels.items()
        ]
        return sum(found) if found else None

    def _summed(self) -> CollectorRegistry:
        if self._directory is None:
            return self.registry
        summed = CollectorRegistry()
        MultiProcessCollector(summed, self._directory)  # type: ignore[no-untyped-call]
        return summed


def remove_dead_processes(directory: str) -> None:
    """Remove the gauges of processes that have ended; their counters are kept."""
    for path in Path(directory).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]


class RouteMetrics:
    """The metrics of one route."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        self._metrics = metrics
        self._route = route
        self._shown: tuple[str, str, str] | None = None
        self._decisions: dict[tuple[str, str, str], tuple[Counter, Counter]] = {}
        self._confidence = metrics.confidence.labels(route)
        self.request_s = metrics.request_s.labels(route)
        self.overhead_s = metrics.overhead_s.labels(route)
        self.saved_tokens = metrics.saved.labels(route)

    def policy(self, policy: str | None, threshold: float | None, *, certified: bool) -> None:
        """Show the policy and the threshold in force."""
        if threshold is not None:
            self._metrics.threshold.labels(self._route).set(threshold)
        shown = None if policy is None else (self._route, policy, str(certified).lower())
        if self._shown not in (None, shown):
            self._metrics.policy.labels(*self._shown).set(0)
            if not self._metrics.several:
                self._metrics.policy.remove(*self._shown)
        if shown is not None:
            self._metrics.policy.labels(*shown).set(1)
        self._shown = shown

    def decided(self, decision: Decision) -> None:
        """Count the decision on one choice."""
        key = (decision.decision, decision.reason, decision.source)
        children = self._decisions.get(key)
        if children is None:
            metrics, route = self._metrics, self._route
            children = self._decisions[key] = (
                metrics.requests.labels(route, decision.decision, decision.reason),
                metrics.sources.labels(route, decision.source),
            )
        for child in children:
            child.inc()
        if decision.confidence is not None:
            self._confidence.observe(decision.confidence)

    def cancelled(self, cause: str) -> None:
        """Count a cancelled upstream call; ``cause`` is ``abstained`` or ``disconnect``."""
        self._metrics.cancelled.labels(self._route, cause).inc()

    def unmatched(self, field: str, count: int = 1) -> None:
        """Count a request that differs in ``field`` from those that the policy was fitted on."""
        self._metrics.unmatched.labels(self._route, field).inc(count)

    def rescued(self, outcome: str) -> None:
        """Count a question asked again without its context; ``outcome`` is ``served``, ``abstained`` or ``failed``."""
        self._metrics.rescues.labels(self._route, outcome).inc()

    def extra_tokens(self, kind: str, count: int) -> None:
        """Count tokens of further calls; ``kind`` is ``prompt`` or ``completion``."""
        self._metrics.extra.labels(self._route, kind).inc(count)


class UpstreamMetrics:
    """The metrics of one upstream."""

    def __init__(self, metrics: Metrics, upstream: str) -> None:
        self._metrics = metrics
        self._upstream = upstream
        self.duration_s = metrics.upstream_s.labels(upstream)

    def failed(self, kind: str) -> None:
        """Count one failure of this kind."""
        self._metrics.errors.labels(self._upstream, kind).inc()

    def ability(self, ability: str, *, has: bool) -> None:
        """Show whether the upstream has an ability, as far as probes have found."""
        self._metrics.abilities.labels(self._upstream, ability).set(has)
