"""A configuration becomes an application, or one line that says why not."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.app import TOP_LOGPROBS, App, build
from proxy.config import parse
from proxy.control.policies import load_policy
from proxy.exceptions import ConfigError
from tests.fakes import answer, says
from tests.proxy.policies import POLICY

ENFORCE = {"name": "r", "mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -1.0}


def built(route, folder, *, upstream="base_url: http://127.0.0.1:9/v1", environ=None):
    text = f"upstreams: {{u: {{{upstream}}}}}\nroutes: [{{name: r, models: ['*'], upstream: u, {route}}}]"
    return build(parse(text, "t.yaml"), folder=folder, environ=environ or {})


@pytest.mark.parametrize(("route", "needs", "top"), [
    ("mode: off", None, 0), ("mode: observe", {"logprobs"}, 0), ("scorers: [min_logprob]", {"logprobs"}, 0),
    ("scorers: [topk_entropy]", {"top_logprobs"}, TOP_LOGPROBS),
])  # fmt: skip
def test_a_route_gets_its_gate(tmp_path, route, needs, top):
    (found,) = built(route, tmp_path).routes.routes
    assert (found.gate is None) == (needs is None)
    if needs is not None:
        assert found.gate.needs >= needs
    assert found.top_logprobs == top


def test_a_policy_is_read_and_shown(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(POLICY.to_dict()))
    parts = built("mode: enforce, policy: p.json", tmp_path)
    (found,) = parts.routes.routes
    assert (found.policy, found.gate.limit, found.gate.certified()) == ("support", 0.6, True)
    labels = {"route": "r", "policy": "support", "certified": "true"}
    assert parts.metrics.registry.get_sample_value("idk_policy_info", labels) == 1
    assert parts.metrics.registry.get_sample_value("idk_threshold", {"route": "r"}) == 0.6


def test_a_routes_threshold_stands_over_the_policys(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(POLICY.to_dict()))
    (found,) = built("mode: enforce, policy: p.json, threshold: 0.9", tmp_path).routes.routes
    assert (found.gate.limit, found.gate.certified()) == (0.9, False)


BROKEN = {**POLICY.to_dict(), "calibrator": {**POLICY.calibrator.to_dict(), "slope": float("nan")}}


@pytest.mark.parametrize(("text", "said"), [
    (None, "no such file; `idk tune` writes one"), ("{", "not a policy: "), ("[]", "a JSON object is expected"),
    ("[" * 100_000, "not a policy: "), ("\xff", "policy"), ("{}", "policy.version"),
    (json.dumps({**POLICY.to_dict(), "version": 99}), "policy.version: must be 1 or 2, not 99"),
    (json.dumps({**POLICY.to_dict(), "threshold": 2}), "threshold"), (json.dumps(BROKEN), "JSON has no NaN"),
    (json.dumps({**POLICY.to_dict(), "threshold": None, "certificate": None}), "set a threshold for the route"),
    (json.dumps({**POLICY.to_dict(), "scorers": ["x"], "features": {"x": "log_odds"}}), ""),
])  # fmt: skip
def test_a_policy_that_cannot_be_used_is_refused_by_place_and_file(tmp_path, text, said):
    if text is not None:
        (tmp_path / "p.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError) as raised:
        built("mode: enforce, policy: p.json", tmp_path)
    message = str(raised.value)
    assert message.startswith("routes.r")
    assert said in message
    assert "\n" not in message


def test_a_folder_is_no_policy(tmp_path):
    with pytest.raises(ConfigError, match="not a policy"):
        load_policy(tmp_path, "routes.r.policy")


def test_evidence_that_nobody_gathers_is_refused(tmp_path):
    scorers = {"scorers": ["mine"], "features": {"mine": "log_odds"}}
    saved = {**POLICY.to_dict(), **scorers, "certificate": None}
    saved["features"] = {"mine": next(iter(_scales()))}
    (tmp_path / "p.json").write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match="policy: reads features, which this version cannot gather"):
        built("mode: enforce, policy: p.json", tmp_path)


def _scales():
    from gating.transform import TO_LOG_ODDS

    return TO_LOG_ODDS


# The application


@pytest.mark.parametrize("path", [
    "/v1/chat/completions", "/chat/completions", "/v1/chat/completions/", "//v1//chat/completions",
    "/v1/chat%2Fcompletions", "/%76%31/chat/completions",
])  # fmt: skip
async def test_the_gate_is_on_its_path_however_that_is_written(serving, upstream, path):
    prompt = upstream.script(answer(says("secret", logprob=-9.0)))
    async with serving(ENFORCE) as proxy:
        reply = await proxy.ask(path, {"model": "m", "messages": [{"role": "user", "content": prompt}]})
    assert reply.json["choices"][0]["message"]["content"] == "I don't know."


async def test_it_is_ready_between_its_start_and_its_end(tmp_path):
    app = App(built("mode: observe", tmp_path))
    started, stopping = asyncio.Event(), asyncio.Event()
    sent = []

    async def receive():
        if not sent:
            return {"type": "lifespan.startup"}
        await stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message):
        sent.append(message["type"])
        started.set()

    assert not app.health.ready
    running = asyncio.create_task(app({"type": "lifespan", "asgi": {}}, receive, send))
    await started.wait()
    assert app.health.ready
    stopping.set()
    await running
    assert not app.health.ready
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
