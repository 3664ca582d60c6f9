"""The metrics of the contract, on a registry that is passed in; labels take values from the configuration only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gating.types import Decision
    from proxy.requests.route import Route

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: The variable by which prometheus_client finds the files of several processes, when it is imported.
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"

#: Tenths: what a calibrated confidence can be read to.
_CONFIDENCE = tuple(step / 10 for step in range(1, 11))
#: A completion takes 0.1 s to minutes.
_REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
#: The proxy itself takes a fraction of a millisecond.
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)


class Metrics:
    """Every family, made once for a registry; ``directory`` is where several processes keep theirs."""

    def __init__(self, registry: CollectorRegistry | None = None, *, directory: str | None = None) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        self._directory = directory
        self.requests = Counter(
            "idk_requests", "Gated choices.", ("route", "decision", "reason"), registry=registry
        )
        self.sources = Counter(
            "idk_evidence",
            "Gated choices by what their score was read from.",
            ("route", "source"),
            registry=registry,
        )
        self.confidence = Histogram(
            "idk_confidence", "Calibrated confidence.", ("route",), registry=registry, buckets=_CONFIDENCE
        )
        self.threshold = Gauge(
            "idk_threshold",
            "The threshold in force.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.policy = Gauge(
            "idk_policy_info",
            "The policy in force.",
            ("route", "policy", "certified"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.request_s = Histogram(
            "idk_request_duration_seconds",
            "From the request to the end of the answer.",
            ("route",),
            registry=registry,
            buckets=_REQUEST_S,
        )
        self.upstream_s = Histogram(
            "idk_upstream_duration_seconds",
            "Waiting for the upstream.",
            ("upstream",),
            registry=registry,
            buckets=_REQUEST_S,
        )
        self.overhead_s = Histogram(
            "idk_overhead_seconds",
            "Time in the proxy itself.",
            ("route",),
            registry=registry,
            buckets=_OVERHEAD_S,
        )
        self.errors = Counter(
            "idk_upstream_errors", "Failures of upstreams.", ("upstream", "kind"), registry=registry
        )
        self.cancelled = Counter(
            "idk_upstream_cancelled",
            "Upstream calls ended before their answer was.",
            ("route", "cause"),
            registry=registry,
        )
        self.extra = Counter(
            "idk_extra_tokens", "Tokens paid beyond the answers.", ("route", "kind"), registry=registry
        )
        self.saved = Counter(
            "idk_saved_tokens",
            "Tokens that cancelled calls can have saved at the most, where the request bounds its answer.",
            ("route",),
            registry=registry,
        )
        self.feedback = Counter(
            "idk_feedback", "Labels that clients gave.", ("route", "label"), registry=registry
        )
        self.store_errors = Counter(
            "idk_store_errors",
            "Failures of the store, and records that were dropped.",
            ("operation",),
            registry=registry,
        )
        self.observed_risk, self.alarm, self.drift = (
            Gauge(name, said, ("route",), registry=registry, multiprocess_mode="livemostrecent")
            for name, said in (
                ("idk_observed_risk", "Wrong among the served answers that were labelled."),
                (
                    "idk_risk_alarm",
                    "Whether the certificate is revoked: labels have refuted it, or confidences have moved (on_drift).",
                ),
                ("idk_drift", "How far confidences have moved."),
            )
        )
        self._routes: dict[str, RouteMetrics] = {}
        self.rescues = Counter(
            "idk_rescues",
            "Questions asked again without their context: served, abstained or failed.",
            ("route", "outcome"),
            registry=registry,
        )
        self.reloads = Counter(
            "idk_config_reloads", "Changed configurations.", ("outcome",), registry=registry
        )

    def route(self, name: str) -> RouteMetrics:
        """The children of one route, resolved once: finding one by its labels costs three times its use."""
        found = self._routes.get(name)
        if found is None:
            found = self._routes[name] = RouteMetrics(self, name)
        return found

    def in_force(self, routes: Iterable[Route]) -> None:
        """Say what holds on these routes from now on; of any other nothing holds any more."""
        names = set()
        for route in routes:
            names.add(route.name)
            limit = None if route.gate is None else route.gate.limit
            self.route(route.name).policy(route.policy, limit, certified=route.certified)
        for name, metrics in self._routes.items():
            if name not in names:
                metrics.policy(None, None, certified=False)

    @property
    def several(self) -> bool:
        """Whether several processes' metrics are summed: then what was shown can be zeroed, not removed."""
        return self._directory is not None

    def upstream(self, name: str) -> UpstreamMetrics:
        """The children of one upstream."""
        return UpstreamMetrics(self, name)

    def exposition(self) -> bytes:
        """The registry in Prometheus's text format, summed over the processes where there are several."""
        return generate_latest(self._summed())

    def counted(self, name: str, **labels: str) -> float | None:
        """A counter's samples with these labels, added up over the processes; None where there is none."""
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


def forget_the_dead(directory: str) -> None:
    """Drop what was in force in processes that are no more; what they counted stays counted."""
    for path in Path(directory).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]


class RouteMetrics:
    """What is counted of one route."""

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
        """Say what is in force."""
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
        """Count one choice's decision."""
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
        """Count an upstream call that was ended: ``abstained`` or ``disconnect``."""
        self._metrics.cancelled.labels(self._route, cause).inc()

    def rescued(self, outcome: str) -> None:
        """Count a question that was asked again without its context: ``served``, ``abstained`` or ``failed``."""
        self._metrics.rescues.labels(self._route, outcome).inc()

    def extra_tokens(self, kind: str, count: int) -> None:
        """Count tokens paid beyond the answer: ``prompt`` or ``completion``."""
        self._metrics.extra.labels(self._route, kind).inc(count)


class UpstreamMetrics:
    """What is counted of one upstream."""

    def __init__(self, metrics: Metrics, upstream: str) -> None:
        self._metrics = metrics
        self._upstream = upstream
        self.duration_s = metrics.upstream_s.labels(upstream)

    def failed(self, kind: str) -> None:
        """Count one failure by its kind."""
        self._metrics.errors.labels(self._upstream, kind).inc()
