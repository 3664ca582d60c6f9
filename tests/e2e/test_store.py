"""Real proxies with a real store: labels revoke a certificate everywhere, and a failing store delays no request."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy.storage import Label, RiskState
from tests.e2e.conftest import certified_policy
from tests.e2e.proxies import (
    Proxy,
    asking,
    config_of,
    enforced,
    idk,
    route,
    verdict_of,
    wait_until,
    with_store,
    write_config,
)
from tests.fakes import answer, says
from tests.proxy.storage.making import decided, said
from tests.proxy.storage.redis_servers import alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.storage import Store
    from tests.fakes import FakeUpstream
    from tests.proxy.storage.redis_servers import Server

KEY = "a key of more than sixteen characters"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis server of the test's own."""
    with alone(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of store that several processes share."""
    if request.param == "sqlite":
        return "sqlite:///idk.db"
    return f"redis://127.0.0.1:{request.getfixturevalue('redis').port}/0"


def ask(proxy: Proxy, upstream: FakeUpstream, name: str, logprob: float = -0.01) -> dict[str, Any]:
    """Return the ``idk`` field and the text of an answer to which the certified policy applies."""
    prompt = upstream.script(answer(says("Paris", logprob=logprob)))
    response = proxy.post(asking("certified", prompt, temperature=0), headers={"x-idk-route": name})
    assert response.status_code == 200, response.text
    text = response.json()["choices"][0]["message"]["content"]
    return {**response.json()["idk"], "text": text, "id": response.headers["x-request-id"]}


async def _call_wrong(store: Store, ids: list[str]) -> None:
    for each in ids:
        label = Label(id=each, choice=0, label="incorrect", source="audit", at=time.time())
        assert await store.add_label(label)


def test_audit_labels_revoke_the_certificate_on_every_replica(
    tmp_path: Path, upstream: FakeUpstream, url: str
):
    (tmp_path / "certified.json").write_text(json.dumps(certified_policy().to_dict()))
    push = idk("policy", "push", "certified.json", "--name", "certified", "--store", url, cwd=tmp_path)
    assert (push.returncode, push.stdout) == (0, "certified@1 is in force\n"), push.stderr
    gates = {"models": ["certified"], "mode": "enforce", "policy": "certified", "audit": 1.0}
    routes = [{**route(name, on_alarm=name), **gates} for name in ("warn", "tighten", "abstain")]
    path = write_config(tmp_path, config_of(upstream, *routes, store=url))
    with Proxy("--config", path, cwd=tmp_path) as one, Proxy("--config", path, cwd=tmp_path) as two:
        for name in ("warn", "tighten", "abstain"):
            made = [ask(one, upstream, name) for _ in range(8)]
            assert {(each["certified"], each["text"]) for each in made} == {(True, "Paris")}
            wait_until(
                lambda n=name: len(with_store(tmp_path, url, lambda s: s.audit(n))) == 8, "not all are drawn"
            )
            with_store(tmp_path, url, lambda s, m=made: _call_wrong(s, [each["id"] for each in m]))
        for proxy in (one, two):
            for name in ("warn", "tighten", "abstain"):
                wait_until(
                    lambda p=proxy, n=name: not ask(p, upstream, n)["certified"], "it is still certified"
                )
                # What is served is first, what is shown follows it.
                wait_until(
                    lambda p=proxy, n=name: p.metric("idk_risk_alarm", route=n) == 1, "no alarm is shown"
                )
                wait_until(
                    lambda p=proxy, n=name: p.metric("idk_observed_risk", route=n) == 1, "no risk is shown"
                )
                assert (
                    proxy.metric("idk_policy_info", route=name, policy="certified@1", certified="false") == 1
                )
            assert ask(proxy, upstream, "warn")["text"] == "Paris"
            wait_until(
                lambda p=proxy: ask(p, upstream, "tighten")["text"] == "I don't know.", "it does not tighten"
            )
            closed = ask(proxy, upstream, "abstain")
            assert (closed["text"], closed["choices"][0]["reason"]) == ("I don't know.", "unmeasured")
        # Another version begins anew.
        pushed_again = idk(
            "policy", "push", "certified.json", "--name", "certified", "--store", url, cwd=tmp_path
        )
        assert pushed_again.returncode == 0
        began = time.monotonic()
        wait_until(lambda: ask(two, upstream, "tighten")["certified"], "the new version is not certified")
        # On a quiet machine a third of a second; tests run on busy ones.
        assert time.monotonic() - began < 5.0
        assert ask(two, upstream, "abstain")["text"] == "Paris"
    with Proxy("--config", path, cwd=tmp_path) as again:
        assert ask(again, upstream, "warn")["certified"]


async def _moved(store: Store, name: str) -> None:
    """Store decisions of a version: high confidences, then low ones, and no label."""
    began = time.time() - 10_000.0
    await store.put_risk(RiskState(route=name, policy="certified@1", since=began, revision=1))
    values = [*(0.6 + 0.004 * n for n in range(100)), *(0.1 + 0.004 * n for n in range(100))]
    records = [
        decided(f"{name}-{n}", began + 1.0 + n, confidence=value, route=name, policy="certified@1")
        for n, value in enumerate(values)
    ]
    await store.add_decisions(records, [])


def test_drift_closes_a_route_on_every_replica(tmp_path: Path, upstream: FakeUpstream, url: str):
    (tmp_path / "certified.json").write_text(json.dumps(certified_policy().to_dict()))
    push = ("policy", "push", "certified.json", "--name", "certified", "--store", url)
    assert idk(*push, cwd=tmp_path).returncode == 0
    gates = {"models": ["certified"], "mode": "enforce", "policy": "certified"}
    routes = [{**route(name, on_drift=name), **gates} for name in ("warn", "revoke", "abstain")]
    path = write_config(tmp_path, config_of(upstream, *routes, store=url))
    for name in ("warn", "revoke", "abstain"):
        with_store(tmp_path, url, lambda s, n=name: _moved(s, n))
    with Proxy("--config", path, cwd=tmp_path) as one, Proxy("--config", path, cwd=tmp_path) as two:
        for proxy in (one, two):
            for name in ("warn", "revoke", "abstain"):
                wait_until(lambda p=proxy, n=name: p.metric("idk_drift", route=n) == 1, "no drift is shown")
            wait_until(lambda p=proxy: not ask(p, upstream, "revoke")["certified"], "it is still certified")
            wait_until(lambda p=proxy: ask(p, upstream, "abstain")["text"] == "I don't know.", "it is open")
            assert ask(proxy, upstream, "revoke")["text"] == "Paris"
            assert ask(proxy, upstream, "warn")["certified"]
            alarms = [proxy.metric("idk_risk_alarm", route=name) for name in ("warn", "revoke", "abstain")]
            assert alarms == [0, 1, 1]
        assert [with_store(tmp_path, url, lambda s: s.risk("abstain")).looks] == [1]
        assert idk(*push, cwd=tmp_path).returncode == 0
        for proxy in (one, two):
            wait_until(
                lambda p=proxy: ask(p, upstream, "abstain")["certified"], "the new version is not certified"
            )
            assert ask(proxy, upstream, "abstain")["text"] == "Paris"


def test_a_revoked_certificate_stays_revoked_after_a_restart(tmp_path: Path, upstream: FakeUpstream):
    (tmp_path / "certified.json").write_text(json.dumps(certified_policy().to_dict()))
    gates = {"models": ["certified"], "mode": "enforce", "policy": "certified.json", "audit": 1.0}
    path = write_config(tmp_path, config_of(upstream, {**route("r"), **gates}))
    url = "sqlite:///idk.db"
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        made = [ask(proxy, upstream, "r") for _ in range(8)]
        assert all(each["certified"] for each in made)
        for each in made:
            assert proxy.post({"id": each["id"], "label": "incorrect"}, "/v1/feedback").status_code == 200
        # Eight reports of one client on the first eight answers revoke nothing; labels of the audit sample do.
        assert proxy.metric("idk_risk_alarm", route="r") == 0
        for item, _ in with_store(tmp_path, url, lambda s: s.audit("r")):
            with_store(tmp_path, url, lambda s, i=item.decision.id: s.add_label(said(i, "incorrect")))
        wait_until(lambda: proxy.metric("idk_risk_alarm", route="r") == 1, "no alarm")
        assert with_store(tmp_path, url, lambda s: s.risk("r")).cause == "audit"
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        assert not ask(proxy, upstream, "r")["certified"]
    # A proxy that cannot read the store cannot know of a revocation, so it says not certified.
    (tmp_path / "idk.db").rename(tmp_path / "moved.db")
    (tmp_path / "idk.db").mkdir()
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        assert not ask(proxy, upstream, "r")["certified"]


def test_texts_are_kept_for_the_sample_alone_and_sealed(tmp_path: Path, upstream: FakeUpstream):
    routes = [enforced("plain", least=-1.0), enforced("audited", least=-1.0, audit=1.0)]
    path = write_config(tmp_path, config_of(upstream, *routes))
    environ = {**os.environ, "IDK_AUDIT_KEY": KEY}
    with Proxy("--config", path, cwd=tmp_path, env=environ) as proxy:
        for name in ("plain", "audited"):
            prompt = upstream.script(answer(says("a-secret-answer", logprob=-9.0)))
            assert proxy.post(asking(name, prompt)).json()["idk"]["choices"][0]["decision"] == "abstain"
    kept = b"".join(each.read_bytes() for each in tmp_path.glob("idk.db*"))
    assert b"below_threshold" in kept
    assert b"a-secret-answer" not in kept
    url = "sqlite:///idk.db"
    ((item, _),) = with_store(tmp_path, url, lambda s: s.audit("audited"), KEY)
    assert (item.answer.answer, item.decision.decision) == ("a-secret-answer", "abstain")
    assert with_store(tmp_path, url, lambda s: s.audit("plain"), KEY) == []


def test_a_redis_that_dies_delays_no_answer_and_what_waited_is_written(
    tmp_path: Path, upstream: FakeUpstream, redis: Server
):
    url = f"redis://127.0.0.1:{redis.port}/0"
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0), store=url))
    with Proxy("--config", path, cwd=tmp_path) as proxy:

        def overhead_s() -> float:
            """Return the mean duration of twenty requests."""
            began = [proxy.metric(f"idk_overhead_seconds_{each}", route="r") for each in ("sum", "count")]
            for _ in range(20):
                assert verdict_of(proxy, upstream)["text"] == "Paris"
            ended = [proxy.metric(f"idk_overhead_seconds_{each}", route="r") for each in ("sum", "count")]
            return (ended[0] - began[0]) / (ended[1] - began[1])

        before = overhead_s()
        redis.kill()
        proxy.says("the store failed; requests are still answered")
        assert overhead_s() - before < 0.005
        redis.start()
        proxy.says("the store is available again")
        wait_until(lambda: len(with_store(tmp_path, url, _all)) == 40, "what waited is not written")
        assert proxy.metric("idk_store_errors_total", operation="record") < 20


async def _all(store: Store) -> list[Any]:
    from proxy.storage import DecisionQuery

    return (await store.decisions(DecisionQuery(limit=100))).items
