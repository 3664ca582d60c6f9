"""Reloading: routes are replaced while requests are in flight, and a change applies as a whole or not at all."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from proxy.app import AppSettings, application, build
from proxy.config import Server, parse, with_server
from proxy.control.policies import Alarm, PolicyName, StoreSnapshot
from proxy.control.reload import APPLIED, Source, waiting_for_restart
from proxy.control.risk_watch import RiskWatcher
from proxy.exceptions import ConfigError, StoreError
from proxy.metrics import Metrics
from proxy.storage import Sealer, make_store
from tests.fakes import answer, held, says
from tests.proxy.asgi_client import ask
from tests.proxy.policies import POLICY

TEXT = """
server: {{store: "sqlite:///idk.db"{server}}}
upstreams: {{u: {{base_url: "{url}", max_retries: 0}}}}
routes: [{{name: r, models: ["*"], upstream: u, {route}}}]
"""
ENFORCE = "mode: enforce, scorers: [mean_logprob], score_threshold: "


async def until(true):
    """Wait until a condition holds for which there is no event."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Place:
    """A folder with a configuration that changes."""

    def __init__(self, folder, url):
        self.folder = folder
        self.url = url
        self.path = folder / "idk.yaml"
        self.metrics = Metrics()

    def write(self, route, server="", url=None):
        text = TEXT.format(url=url or self.url, route=route, server=server)
        beside = self.folder / "new"
        beside.write_text(text)
        beside.replace(self.path)

    def app(self):
        source = Source(self.path, {})
        config = source.load()
        source = Source(self.path, {}, source.stamp(config))
        return application(AppSettings(config, self.folder, source=source), os.environ, self.metrics)

    def count(self, outcome):
        return self.metrics.registry.get_sample_value("idk_config_reloads_total", {"outcome": outcome}) or 0

    async def applied(self, number):
        await until(lambda: self.count("applied") >= number)


@pytest.fixture
def place(tmp_path, upstream):
    return Place(tmp_path, upstream.base_url)


async def asked(app, prompt):
    reply = await ask(
        app, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    )
    return reply.json["choices"][0]["message"]["content"]


def scripted(upstream, logprob=-0.7):
    return upstream.script(answer(says("Paris", logprob=logprob)))


async def test_upstreams_close_after_their_last_request(place, upstream):
    place.write(ENFORCE + "-1.0")
    app = place.app()
    await app.reloader.start()
    first = app.container
    prompt = upstream.script(held(answer(says("Rome", logprob=-0.7))))
    under_way = asyncio.create_task(asked(app, prompt))
    call = await asyncio.to_thread(upstream.call, prompt)
    # Another route alone: the upstream stays, with its connections.
    place.write(ENFORCE + "-0.5")
    await place.applied(1)
    assert app.container.upstreams is first.upstreams
    assert await asked(app, scripted(upstream)) == "I don't know."
    # Another upstream: the old one stays for the request that is in flight, then closes.
    place.write(ENFORCE + "-0.5", url=place.url + "/")
    await place.applied(2)
    assert app.container.upstreams is not first.upstreams
    closed = []
    close = first.upstreams["u"].aclose

    async def aclose():
        closed.append(await close())

    first.upstreams["u"].aclose = aclose
    assert await asked(app, scripted(upstream)) == "I don't know."
    assert closed == []
    call.released.set()
    assert await under_way == "Rome"
    await app.aclose()
    assert closed == [None]
    await app.reloader.stop()


async def test_what_takes_a_restart_is_said_and_the_rest_applied(place, upstream, caplog):
    caplog.set_level("INFO", "idk")
    place.write(ENFORCE + "-1.0")
    app = place.app()
    await app.reloader.start()
    place.write(ENFORCE + "-0.5", server=", port: 1, log_text: true")
    await place.applied(1)
    assert await asked(app, scripted(upstream)) == "I don't know."
    for key in ("port", "log_text"):
        assert f"server.{key}: takes effect after a restart of the proxy" in caplog.text
    await app.reloader.stop()
    await app.aclose()


async def test_a_process_that_starts_late_takes_the_file_as_it_is(place, upstream):
    place.write(ENFORCE + "-1.0")
    app = place.app()
    place.write(ENFORCE + "-0.5")
    await app.reloader.start()
    assert place.count("applied") == 1
    assert await asked(app, scripted(upstream)) == "I don't know."
    await app.reloader.stop()
    await app.aclose()


async def test_a_route_that_names_a_policy_only_now_is_watched(place, upstream):
    store = make_store("sqlite:///idk.db", place.folder, Sealer())
    await store.open()
    await store.push_policy("support", POLICY.to_dict(), "ada", 1.0)
    place.write("mode: observe")
    app = place.app()
    await app.reloader.start()
    assert await store.risk("r") is None
    place.write("mode: enforce, policy: support")
    await place.applied(1)
    async with asyncio.timeout(10):
        while (state := await store.risk("r")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert state.policy == "support@1"
    await app.reloader.stop()
    await app.aclose()
    await store.aclose()


async def test_a_pushed_policy_that_cannot_be_used_leaves_the_last_good_one(place, upstream, caplog):
    store = make_store("sqlite:///idk.db", place.folder, Sealer())
    await store.open()
    await store.push_policy("support", POLICY.to_dict(), "ada", 1.0)
    place.write("mode: enforce, policy: support@1")  # to be built at all it must be known
    snapshot = StoreSnapshot({"support": await store.policy("support")})
    place.write("mode: enforce, policy: support")
    source = Source(place.path, {})
    config = source.load()
    setting = AppSettings(config, place.folder, snapshot, Source(place.path, {}, source.stamp(config)))
    app = application(setting, os.environ, place.metrics)
    await app.reloader.start()
    assert app.container.routes.routes[0].policy == "support@1"
    await store.push_policy("support", {**POLICY.to_dict(), "threshold": 9}, "ada", 2.0)
    await until(lambda: place.count("refused"))
    assert "the last good policy stays in force" in caplog.text
    assert app.container.routes.routes[0].policy == "support@1"
    await store.push_policy("support", POLICY.to_dict(), "ada", 3.0)
    await until(lambda: app.container.routes.routes[0].policy == "support@3")
    await app.reloader.stop()
    await app.aclose()
    await store.aclose()


@pytest.mark.parametrize(("on_alarm", "limit", "closed"), [
    ("warn", 0.6, False), ("tighten", 0.75, False), ("abstain", 0.6, True),
])  # fmt: skip
def test_an_alarm_revokes_and_does_what_the_route_says(place, on_alarm, limit, closed):
    (place.folder / "p.json").write_text(json.dumps(POLICY.to_dict()))
    place.write(f"mode: enforce, policy: p.json, on_alarm: {on_alarm}")
    config = Source(place.path, {}).load()
    quiet = build(config, folder=place.folder, environ={})
    (route,) = quiet.routes.routes
    assert (route.certified, route.closed) == (True, False)
    for snapshot, still in (
        (StoreSnapshot(alarms={"r": Alarm(route.version, "audit", 0.75)}), False),
        (StoreSnapshot(alarms={"r": Alarm("older", "audit", 0.9)}), True),
        (StoreSnapshot(reached=False), False),
    ):  # fmt: skip
        (now,) = build(config, folder=place.folder, environ={}, snapshot=snapshot).routes.routes
        assert now.certified == still
        if snapshot.alarm("r", route.version) is not None:
            assert (now.gate.limit, now.closed) == (limit, closed)


@pytest.mark.parametrize("on_alarm", ["tighten", "abstain"])
def test_feedback_alone_closes_nothing(place, on_alarm):
    (place.folder / "p.json").write_text(json.dumps(POLICY.to_dict()))
    place.write(f"mode: enforce, policy: p.json, on_alarm: {on_alarm}")
    config = Source(place.path, {}).load()
    version = build(config, folder=place.folder, environ={}).routes.routes[0].version
    snapshot = StoreSnapshot(alarms={"r": Alarm(version, "feedback")})
    (route,) = build(config, folder=place.folder, environ={}, snapshot=snapshot).routes.routes
    assert (route.certified, route.closed, route.gate.limit) == (False, False, 0.6)


@pytest.mark.parametrize(("on_drift", "certified", "closed"), [
    ("warn", True, False), ("revoke", False, False), ("abstain", False, True),
])  # fmt: skip
def test_drift_does_what_the_route_says(place, on_drift, certified, closed):
    (place.folder / "p.json").write_text(json.dumps(POLICY.to_dict()))
    place.write(f"mode: enforce, policy: p.json, on_alarm: tighten, on_drift: {on_drift}")
    config = Source(place.path, {}).load()
    version = build(config, folder=place.folder, environ={}).routes.routes[0].version

    def now(alarm):
        snapshot = StoreSnapshot(alarms={"r": alarm})
        return build(config, folder=place.folder, environ={}, snapshot=snapshot).routes.routes[0]

    route = now(Alarm(version, drifted=True))
    assert (route.certified, route.closed, route.gate.limit) == (certified, closed, 0.6)
    both = now(Alarm(version, "audit", 0.75, drifted=True))
    assert (both.certified, both.closed, both.gate.limit) == (False, closed, 0.6 if closed else 0.75)
    assert now(Alarm("older", drifted=True)).certified


@pytest.mark.parametrize(("text", "named"), [
    ("support", ("support", None)), ("support@3", ("support", 3)), ("a.b-c_d", ("a.b-c_d", None)),
    ("policy.json", None), ("policies/support", None), ("support@0", None), ("/etc/p", None), ("", None),
])  # fmt: skip
def test_what_is_a_name_and_what_a_file(text, named):
    assert PolicyName.parse(text) == named


def test_an_unknown_policy_is_refused_with_the_fix(place):
    place.write("mode: enforce, policy: support@2")
    with pytest.raises(
        ConfigError, match=r"routes.r.policy: there is no policy `support@2`.*idk policy push"
    ):
        build(Source(place.path, {}).load(), folder=place.folder, environ={})


async def test_a_store_that_answers_only_in_part_is_asked_again(place, upstream, monkeypatch):
    """A first read fails between policies and risks: only a second read lets the route be certified again."""
    (place.folder / "p.json").write_text(json.dumps(POLICY.to_dict()))
    place.write("mode: enforce, policy: p.json")
    app = place.app()
    look, failed = RiskWatcher.look, []

    async def once(self, routes):
        if not failed:
            failed.append(True)
            raise StoreError("half an answer")
        await look(self, routes)

    monkeypatch.setattr(RiskWatcher, "look", once)
    await app.reloader.start()
    assert not app.container.routes.routes[0].certified
    await until(lambda: app.container.routes.routes[0].certified)
    await app.reloader.stop()
    await app.aclose()


def test_every_setting_is_applied_or_named_as_waiting_for_a_restart():
    fields = set(Server.__struct_fields__)
    assert fields >= APPLIED
    assert {
        "drain_s",
        "drain_lead_s",
        "max_head_bytes",
        "max_headers",
        "receive_timeout_s",
        "port",
        "store",
        "log",
    } <= (fields - APPLIED)
    before = parse("upstreams: {u: {base_url: http://h}}\nroutes: [{name: r, models: [m], upstream: u}]", "f")
    after = with_server(before, {"drain_lead_s": 1.0, "max_head_bytes": 9_999, "max_in_flight": 5}, "f")
    assert waiting_for_restart(before, after) == ["max_head_bytes", "drain_lead_s"]
