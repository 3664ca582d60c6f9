"""Tests of the dashboard: a real Prometheus scrapes a real run, and every query returns data."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from tests.deploy.conftest import ROOT, clean, tool
from tests.deploy.pictures import label
from tests.deploy.scraping import ask, await_series, prometheus
from tests.e2e.conftest import certified_policy
from tests.e2e.proxies import Proxy, asking, enforced, idk, route, write_config
from tests.e2e.test_rescue import RAG, scripted
from tests.fakes import FakeUpstream, answer, error, says

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DASHBOARD = json.loads((ROOT / "deploy/grafana/idk.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
#: Metrics that this run cannot change within seconds, and what would change them; their queries may be empty.
WAITS = {
    "idk_store_errors": "a store that fails",
    "idk_drift": "a thousand decisions and a look, which comes by the minute",
}


def traffic(proxy: Proxy, upstream: FakeUpstream) -> None:
    """Send requests of each kind: confident and not, without logprobs, failing, cancelled, labelled."""
    rng = np.random.default_rng(0)
    for logprob in rng.uniform(-1.5, 0.0, 40):
        reply = proxy.post(
            asking("certified", upstream.script(answer(says("yes", logprob=float(logprob)))), temperature=0)
        )
        assert reply.status_code == 200
    label = {"id": reply.headers["x-request-id"], "label": "correct"}
    assert proxy.post(label, "/v1/feedback").status_code == 200
    proxy.post(asking("raw", upstream.script(answer(says("word", logprob=-3.0)))))
    proxy.post(asking("mute", upstream.script(answer(says("word")))))
    proxy.post(asking("raw", upstream.script(error(500, "broken"))))
    low = answer(says("a", "b", "c", logprob=-9.0), stop_at=3)
    proxy.post(asking("least", upstream.script(low), stream=True, max_tokens=50))
    proxy.post(asking("rag", scripted(upstream, -0.01)[0]))
    sampled = answer(says("yes", logprob=-0.1))
    proxy.post(asking("sampled", upstream.script(*[sampled] * 4)))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Prometheus that scrapes a run before and after its requests."""
    folder = tmp_path_factory.mktemp("scraped")
    with FakeUpstream() as upstream:
        fake = {"base_url": upstream.base_url, "max_retries": 0}
        settings = {
            "server": {"store": f"sqlite:///{folder}/idk.db"},
            "upstreams": {"fake": fake, "mute": {**fake, "logprobs": "none"}},
            "routes": [
                route("certified", mode="enforce", policy="certified", audit=1.0),
                enforced("raw"),
                enforced("mute", upstream="mute"),
                enforced("least", "min_logprob", -2.0),
                enforced("sampled", "agreement_exact", 0.5, samples=3),
                enforced("rag", rag=RAG),
            ],
        }
        (folder / "policy.json").write_text(json.dumps(certified_policy().to_dict()))
        path = write_config(folder, settings)
        pushed = idk("policy", "push", "policy.json", "--name", "certified", "--config", path, cwd=folder)
        assert pushed.returncode == 0, pushed.stderr
        with Proxy("--config", path, cwd=folder) as proxy:
            (folder / "metrics.txt").write_text(httpx.get(f"{proxy.url}/metrics").text)
            # A counter that appears with its first event shows no increase, so events also happen before the scrape.
            traffic(proxy, upstream)
            path.write_text("routes: []\n")
            proxy.signal(signal.SIGHUP)
            proxy.says("stays in force")
            with prometheus(proxy.url.removeprefix("http://"), folder) as url:
                await_series(url, "idk_requests_total")
                traffic(proxy, upstream)
                asyncio.run(label(folder, np.random.default_rng(0)))
                await_series(url, "idk_observed_risk")
                await_series(url, "rate(idk_upstream_cancelled_total[30s]) > 0")
                await_series(url, "idk:overhead_seconds:p99_5m > 0")
                yield url


@pytest.mark.parametrize("expr", QUERIES)
def test_a_query_has_data(scraped: str, expr: str) -> None:
    found = ask(scraped, expr)
    waited = [what for name, what in WAITS.items() if name in expr]
    if waited and not found:
        pytest.skip(f"needs {waited[0]}")
    assert found
    assert any(series["value"][1] != "NaN" for series in found)


def test_every_metric_is_known(scraped: str) -> None:
    """Check that the queries name metrics of the proxy; others would stay empty."""
    from proxy.metrics import Metrics

    known = {
        name
        for family in Metrics().registry.collect()
        for name in (family.name, *(f"{family.name}_{end}" for end in ("total", "bucket", "sum", "count")))
    }
    files = ["deploy/grafana/idk.json", "deploy/prometheus/rules.yml"]
    for file in files:
        for name in set(re.findall(r"\bidk_[a-z_]+", (ROOT / file).read_text())):
            assert name in known, (file, name)


def test_the_exposition_passes_the_linter(scraped: str, tmp_path: Path) -> None:
    target = ask(scraped, "up")[0]["metric"]["instance"]
    page = httpx.get(f"http://{target}/metrics").text
    # The names are fixed by the interface; Prometheus's linter finds no other problem.
    assert clean(tool("promtool", "check", "metrics", given=page)) == ""


def test_panels_have_ids_and_do_not_overlap() -> None:
    assert DASHBOARD["schemaVersion"] >= 41
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    placed = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for number, one in enumerate(placed):
        for other in placed[number + 1 :]:
            apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert apart_x or apart_y, (one, other)
