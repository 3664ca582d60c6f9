"""``idk doctor``: the abilities of scripted upstreams, and whether routes can be measured with them."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from proxy.exceptions import UpstreamStatus
from tests.e2e.proxies import enforced, route, write_config
from tests.fakes import FakeUpstream, answer, error, raw, says

PROMPT = "Reply with the word yes."
CAPABLE = answer(says("yes"), says("yes"))


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream() as server:
        yield server


def refusing(*names, then=None):
    """Refuse these parameters; otherwise answer with the requested number of choices."""

    async def reply(call, peer):
        for name in names:
            if name in call.json and call.json[name] is not None:
                await error(400, f"unsupported parameter: {name}", param=name)(call, peer)
                return
        text = '{"ok": true}' if "response_format" in call.json else "yes"
        said = then or answer(*[says(text)] * call.json.get("n", 1))
        await said(call, peer)

    return reply


def doctor(folder, upstream, reply, *routes, arguments=(), **settings):
    upstream._replies[PROMPT] = [reply]
    fake = {"base_url": upstream.base_url, "max_retries": 0, "breaker": {"failures": 0}, **settings}
    config = {"upstreams": {"fake": fake}, "routes": list(routes)}
    return run(["doctor", "--config", str(write_config(folder, config)), *arguments])


def found(capsys):
    return json.loads(capsys.readouterr().out)


def test_an_upstream_that_can_do_all(tmp_path, upstream, capsys):
    assert doctor(tmp_path, upstream, refusing(), enforced("r"), arguments=["--json"]) == 0
    told = found(capsys)
    (deployment,) = told["deployments"]
    assert deployment == {
        "upstream": "fake", "model": "r", "answers": True, "usage": True, "reasoning": False,
        "logprobs": True, "top_logprobs": 20, "n": True, "seed": True, "json_schema": True, "tools": True,
        "stream": True, "stream_logprobs": True, "errors": {},
    }  # fmt: skip
    assert told["routes"] == [
        {
            "route": "r", "needs": ["logprobs"], "source": "logprobs", "measured": True, "missing": [],
            "hints": [],
        }
    ]  # fmt: skip


def test_its_requests_are_few_and_tiny(tmp_path, upstream, capsys):
    before = len(upstream.calls(PROMPT))
    doctor(tmp_path, upstream, refusing(), enforced("r"), {**enforced("s"), "model": "r"})
    calls = upstream.calls(PROMPT)[before:]
    assert len(calls) <= 10
    assert all(call.json["max_tokens"] <= 16 for call in calls)
    assert "can be measured" in capsys.readouterr().out


@pytest.mark.parametrize(("scorer", "reply", "settings", "said"), [
    ("mean_logprob", refusing("logprobs"), {}, "gives no logprobs; use scorers of samples"),
    ("mean_logprob", refusing(), {"logprobs": "none"}, "upstreams.fake.logprobs: none"),
    ("topk_entropy", refusing("top_logprobs"), {}, "gives 0 alternatives of each token, and 5 are read"),
    ("p_true", refusing("logprobs"), {}, "gives no alternatives of a token, which P(True) reads"),
    ("mean_logprob", error(503, "out of order"), {}, "out of order"),
    ("mean_logprob", raw(b"<html>"), {}, "not JSON"),
    ("mean_logprob", raw(b'{"choices": []}'), {}, "no choices"),
])  # fmt: skip
def test_a_route_that_cannot_be_measured(tmp_path, upstream, capsys, scorer, reply, settings, said):
    assert doctor(tmp_path, upstream, reply, enforced("r", scorer), **settings) == 1
    shown = capsys.readouterr()
    assert said in " ".join(shown.out.split())
    assert "answers of r cannot be measured" in shown.err


def test_what_is_refused_is_said_with_the_upstreams_words(tmp_path, upstream, capsys):
    sampled = enforced("r", "agreement", 0.5, samples=3)
    reply = refusing("n", "seed", "tools", "stream", "response_format")
    assert doctor(tmp_path, upstream, reply, sampled, arguments=["--json"]) == 0
    told = found(capsys)
    (deployment,) = told["deployments"]
    for name in ("n", "seed", "tools", "stream", "json_schema"):
        assert deployment[name] is False
        assert "unsupported parameter" in deployment["errors"][name]
    assert "as many calls" in told["routes"][0]["hints"][0]
    assert "cost nothing" in told["routes"][0]["hints"][1]


def test_fewer_alternatives_are_asked_for_where_20_are_refused(tmp_path, upstream, capsys):
    async def reply(call, peer):
        many = call.json.get("top_logprobs", 0) > 5
        await (error(400, "top_logprobs: at most 5") if many else CAPABLE)(call, peer)

    assert doctor(tmp_path, upstream, reply, enforced("r", "topk_entropy"), arguments=["--json"]) == 0
    assert found(capsys)["deployments"][0]["top_logprobs"] == 5


def test_the_newer_limit_of_tokens_is_known(tmp_path, upstream, capsys):
    assert doctor(tmp_path, upstream, refusing("max_tokens"), enforced("r"), arguments=["--json"]) == 0
    assert upstream.calls(PROMPT)[-1].json["max_completion_tokens"] <= 16


def test_one_that_answers_without_logprobs_in_silence(tmp_path, upstream, capsys):
    async def reply(call, peer):
        body = {"choices": [{"index": 0, "message": {"content": "yes", "reasoning_content": "hm"}}]}
        await raw(json.dumps(body).encode())(call, peer)

    assert doctor(tmp_path, upstream, reply, enforced("r"), arguments=["--json"]) == 1
    deployment = found(capsys)["deployments"][0]
    assert (deployment["logprobs"], deployment["reasoning"], deployment["usage"]) == (False, True, False)
    assert (deployment["n"], deployment["json_schema"], deployment["stream"]) == (False, False, False)


def test_a_failure_in_between_is_no_finding(tmp_path, upstream, capsys):
    async def reply(call, peer):
        await (error(429, "slow down") if "seed" in call.json else CAPABLE)(call, peer)

    assert doctor(tmp_path, upstream, reply, enforced("r")) == 0
    assert "seed: slow down" in capsys.readouterr().out


def test_a_judge_must_answer_and_a_route_that_is_off_needs_nothing(tmp_path, upstream, capsys):
    judge = route("judge", mode="off", model="clever")

    async def reply(call, peer):
        await (error(404, "no such model") if call.json["model"] == "clever" else CAPABLE)(call, peer)

    judged = enforced("r", "agreement_judge", 0.5, samples=2, judge="judge")
    assert doctor(tmp_path, upstream, reply, judged, judge) == 1
    assert "judge judge: no such model" in capsys.readouterr().out
    assert doctor(tmp_path, upstream, reply, judge) == 0


def test_which_model(tmp_path, upstream, capsys):
    anything = {**enforced("r"), "models": ["*"]}
    assert doctor(tmp_path, upstream, refusing(), anything) == 2
    assert "--model is required: " in capsys.readouterr().err
    assert doctor(tmp_path, upstream, refusing(), anything, arguments=["--model", "m"]) == 0


def test_a_refusal_is_told_from_a_failure():
    from proxy.upstreams.abilities import is_refusal

    assert is_refusal(UpstreamStatus("no", status=400))
    assert not is_refusal(UpstreamStatus("no", status=429))
