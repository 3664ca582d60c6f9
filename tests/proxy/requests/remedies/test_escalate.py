"""Escalation: where one route withholds everything a stronger one is asked, and its own gate decides."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import answer, error, held, says

DOUBTFUL = says("Lyon", logprob=-3.0)
SURE = says("Par", "is", logprob=-0.1)
RULE = {"scorers": ["mean_logprob"], "score_threshold": -0.5, "mode": "enforce"}


def by_model(**replies):
    """Reply by the name of the model."""

    async def reply(call, peer):
        await replies[call.json["model"]](call, peer)

    return reply


def weak(**settings):
    return {
        "name": "weak",
        "on_low": "escalate",
        "escalate_to": "strong",
        "model": "small",
        **RULE,
        **settings,
    }


def strong(**settings):
    return {"name": "strong", "model": "large", **RULE, **settings}


def text_of(got, *, stream):
    if not stream:
        return got.json["choices"][0]["message"]["content"]
    parts = [choice["delta"].get("content") or "" for event in got.events for choice in event["choices"]]
    return "".join(parts)


def idk_of(got, *, stream):
    return got.events[-1]["idk"] if stream else got.json["idk"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["enforce", "observe"])
async def test_what_the_weak_route_withholds_the_strong_one_answers(serving, upstream, stream, mode):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL), large=answer(SURE)))
    async with serving(weak(), strong(mode=mode)) as running:
        got = await running.chat(prompt, stream=stream)
        assert text_of(got, stream=stream) == "Paris"
        assert "Lyon" not in got.text
        idk = idk_of(got, stream=stream)
        assert (idk["route"], idk["certified"]) == ("weak", False)
        (choice,) = idk["choices"]
        assert (choice["decision"], choice["reason"], choice["score"]) == ("escalate", "confident", -0.1)
        first, second = idk["steps"]
        assert (first["route"], first["choices"][0]["decision"]) == ("weak", "abstain")
        assert first["choices"][0]["score"] == -3.0
        assert (second["route"], second["choices"][0]["decision"]) == ("strong", "answer")
        assert idk["extra"] == {"calls": 1, "prompt_tokens": 7, "completion_tokens": 1}
        assert got.headers["x-idk-decision"] == "escalate"
        assert got.headers["x-idk-route"] == "weak"
        assert running.count("idk_requests_total", route="weak", decision="escalate", reason="confident") == 1
        assert running.count("idk_requests_total", route="strong", decision="answer", reason="confident") == 1
        assert running.count("idk_extra_tokens_total", route="weak", kind="prompt") == 7


async def test_usage_counts_both(serving, upstream):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL), large=answer(SURE)))
    async with serving(weak(), strong()) as running:
        got = await running.chat(prompt)
        assert got.json["usage"] == {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
        got = await running.chat(prompt, stream=True, stream_options={"include_usage": True})
        assert got.events[-1]["usage"] == {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}


async def test_a_stream_without_usage_shows_none(serving, upstream):
    prompt = upstream.script(by_model(small=answer(SURE), large=answer(SURE)))
    async with serving(weak(), strong()) as running:
        got = await running.chat(prompt, stream=True)
        assert all("usage" not in event for event in got.events)
        assert "steps" not in got.events[-1]["idk"]
        assert len(upstream.calls(prompt)) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_strong_routes_own_gate_decides(serving, upstream, stream):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL), large=answer(DOUBTFUL)))
    async with serving(weak(abstain_text="Pass."), strong()) as running:
        got = await running.chat(prompt, stream=stream)
        assert text_of(got, stream=stream) == "Pass."
        assert "Lyon" not in got.text
        idk = idk_of(got, stream=stream)
        assert [step["route"] for step in idk["steps"]] == ["weak", "strong"]
        assert idk["choices"][0]["decision"] == "abstain"
        assert idk["extra"] == {"calls": 1, "prompt_tokens": 7, "completion_tokens": 1}


@pytest.mark.parametrize("broken", [error(500, "out of order"), error(429, "slow down")])
async def test_where_it_fails_the_abstention_stands(serving, upstream, broken):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL), large=broken))
    async with serving(weak(), strong()) as running:
        got = await running.chat(prompt)
        assert text_of(got, stream=False) == "I don't know."
        assert got.json["idk"]["choices"][0]["reason"] == "below_threshold"
        assert running.count("idk_upstream_errors_total", upstream="u", kind="status") == 1


async def test_the_budget_of_time_holds(serving, upstream):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL), large=held()))
    async with serving(weak(budget={"timeout_s": 0.05}), strong()) as running:
        got = await running.chat(prompt)
        assert text_of(got, stream=False) == "I don't know."
        assert got.json["idk"]["choices"][0]["reason"] == "budget"
        assert await asyncio.to_thread(upstream.call(prompt, 1).was_left)


async def test_a_chain_goes_to_its_end(serving, upstream):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL), large=answer(DOUBTFUL), largest=answer(SURE)))
    last = {"name": "last", "model": "largest", **RULE}
    async with serving(weak(), strong(on_low="escalate", escalate_to="last"), last) as running:
        got = await running.chat(prompt)
        assert text_of(got, stream=False) == "Paris"
        idk = got.json["idk"]
        assert [step["route"] for step in idk["steps"]] == ["weak", "strong", "last"]
        assert idk["choices"][0]["decision"] == "escalate"
        assert idk["extra"] == {"calls": 2, "prompt_tokens": 14, "completion_tokens": 2}


async def test_where_one_choice_is_served_nobody_else_is_asked(serving, upstream):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL, SURE)))
    async with serving(weak(), strong()) as running:
        got = await running.chat(prompt, n=2)
        assert [c["message"]["content"] for c in got.json["choices"]] == ["I don't know.", "Paris"]


async def test_observing_asks_nobody(serving, upstream):
    prompt = upstream.script(by_model(small=answer(DOUBTFUL)))
    async with serving(weak(mode="observe"), strong()) as running:
        got = await running.chat(prompt)
        assert text_of(got, stream=False) == "Lyon"
