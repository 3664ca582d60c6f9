"""The metrics of the contract, read as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gating.types import Decision
from proxy.metrics import CONTENT_TYPE, Metrics

#: Of the contract, with their labels; families that later work brings are not here.
CONTRACT = {
    "idk_requests_total": {"route", "decision", "reason"},
    "idk_confidence_bucket": {"route", "le"},
    "idk_threshold": {"route"},
    "idk_policy_info": {"route", "policy", "certified"},
    "idk_request_duration_seconds_bucket": {"route", "le"},
    "idk_upstream_duration_seconds_bucket": {"upstream", "le"},
    "idk_overhead_seconds_bucket": {"route", "le"},
    "idk_upstream_errors_total": {"upstream", "kind"},
    "idk_upstream_cancelled_total": {"route", "cause"},
    "idk_extra_tokens_total": {"route", "kind"},
    "idk_saved_tokens_total": {"route"},
    "idk_config_reloads_total": {"outcome"},
}


def samples(metrics):
    """Return the samples of a scrape: (name, labels) -> value."""
    text = metrics.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics, name, **labels):
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def used():
    metrics = Metrics()
    route, upstream = metrics.route("r"), metrics.upstream("u")
    route.policy("support", 0.75, certified=True)
    route.decided(Decision("answer", "confident", 0.9, 0.75, source="logprobs"))
    route.decided(Decision("answer", "confident", 0.95, 0.75, source="samples"))
    route.decided(Decision("answer", "confident", 0.95, 0.75, source="logprobs"))
    route.decided(Decision("abstain", "unmeasured"))
    route.cancelled("abstained")
    route.extra_tokens("prompt", 7)
    route.saved_tokens.inc(3)
    route.request_s.observe(0.2)
    route.overhead_s.observe(0.0002)
    upstream.duration_s.observe(0.1)
    upstream.failed("timeout")
    metrics.reloads.labels("applied").inc()
    return metrics


def test_names_and_labels_are_the_contracts(used):
    found = {}
    for name, labels in samples(used):
        found.setdefault(name, set()).update(dict(labels))
    assert {name: found.get(name) for name in CONTRACT} == CONTRACT


def test_counts(used):
    assert value(used, "idk_requests_total", route="r", decision="answer", reason="confident") == 3
    assert value(used, "idk_requests_total", route="r", decision="abstain", reason="unmeasured") == 1
    assert value(used, "idk_evidence_total", route="r", source="logprobs") == 2
    assert value(used, "idk_evidence_total", route="r", source="samples") == 1
    assert value(used, "idk_evidence_total", route="r", source="none") == 1
    assert value(used, "idk_confidence_count", route="r") == 3  # what has no confidence is not counted as one
    assert value(used, "idk_confidence_bucket", route="r", le="0.9") == 1
    assert value(used, "idk_threshold", route="r") == 0.75
    assert value(used, "idk_policy_info", route="r", policy="support", certified="true") == 1
    assert value(used, "idk_upstream_errors_total", upstream="u", kind="timeout") == 1
    assert value(used, "idk_upstream_cancelled_total", route="r", cause="abstained") == 1
    assert value(used, "idk_extra_tokens_total", route="r", kind="prompt") == 7
    assert value(used, "idk_saved_tokens_total", route="r") == 3


def test_what_is_not_known_is_not_there():
    metrics = Metrics()
    metrics.route("r").policy(None, None, certified=False)
    assert value(metrics, "idk_threshold", route="r") is None
    assert not [name for name, _ in samples(metrics) if name == "idk_policy_info"]


def test_each_registry_is_its_own(used):
    assert not [name for name, _ in samples(Metrics()) if name == "idk_requests_total"]


def test_the_content_type_is_prometheuss():
    assert CONTENT_TYPE.startswith("text/plain; version=")
