"""Further samples: drawn beside the answer or after it, counted, bounded, and never without need."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes import answer, calls_tool, error, held, raw, says
from tests.proxy.probing import learns, probe_replies
from tests.proxy.requests.evidence.replies import is_sample, telling

TWO = {"scorers": ["agreement"], "score_threshold": 0.5, "mode": "enforce"}
PARIS = says("Paris")


def route(**settings):
    return {"name": "r", **TWO, **settings}


def samples_of(upstream, prompt):
    return [call for call in upstream.calls(prompt) if is_sample(call)]


@pytest.mark.parametrize(("sample", "served"), [("Paris", True), ("Lyon", False)])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_two_sample_rule(serving, upstream, sample, served, stream):
    """Two answers; where they disagree, "I don't know"."""
    prompt = upstream.script(telling(PARIS, [sample]))
    async with serving(route(samples=1)) as running:
        got = await running.chat(prompt, stream=stream)
        text = got.text if stream else got.json["choices"][0]["message"]["content"]
        assert ("Paris" in text) is served
        assert ("I don't know." in text) is not served
        idk = got.events[-1]["idk"] if stream else got.json["idk"]
        assert idk["choices"][0] == {
            "index": 0,
            "decision": "answer" if served else "abstain",
            "reason": "confident" if served else "below_threshold",
            "confidence": None,
            "threshold": None,
            "score": float(served),
            "source": "samples",
        }
        assert idk["extra"] == {"calls": 1, "prompt_tokens": 7, "completion_tokens": 1}
        assert running.count("idk_extra_tokens_total", route="r", kind="completion") == 1
        assert running.count("idk_extra_tokens_total", route="r", kind="prompt") == 7


async def test_usage_counts_every_token(serving, upstream):
    prompt = upstream.script(telling(says("Par", "is"), ["Paris"] * 3))
    async with serving(route(samples=3)) as running:
        got = await running.chat(prompt)
        assert got.json["usage"] == {"prompt_tokens": 14, "completion_tokens": 5, "total_tokens": 19}
        prompt = upstream.script(telling(says("Par", "is"), ["Lyon"] * 3))
        got = await running.chat(prompt, stream=True, stream_options={"include_usage": True})
        assert got.events[-1]["usage"] == {"prompt_tokens": 14, "completion_tokens": 5, "total_tokens": 19}


async def test_one_call_brings_them_all(serving, upstream):
    prompt = upstream.script(telling(PARIS, ["Paris", "Lyon", "Paris"]))
    async with serving(route(samples=3)) as running:
        sent = {
            "temperature": 0.0,
            "top_p": 0.2,
            "seed": 5,
            "store": True,
            "logprobs": True,
            "top_logprobs": 2,
        }
        got = await running.chat(prompt, **sent, max_tokens=9)
        assert got.json["idk"]["choices"][0]["score"] == pytest.approx(2 / 3)
        (call,) = samples_of(upstream, prompt)
        assert {name: value for name, value in call.json.items() if name != "messages"} == {
            "model": "m",
            "n": 3,
            "temperature": 0.8,
            "max_tokens": 9,
        }
        assert call.headers["cache-control"] == "no-cache"
        (other,) = [call for call in upstream.calls(prompt) if not is_sample(call)]
        assert "cache-control" not in other.headers
        assert {name: other.json[name] for name in sent} == sent


async def test_the_routes_own_sampling_holds(serving, upstream):
    prompt = upstream.script(answer(PARIS))
    async with serving(
        route(samples=1, sampling={"temperature": 1.2, "top_p": 0.9}, params={"temperature": 0, "seed": 3})
    ) as running:
        await running.chat(prompt)
        (sample,) = [call.json for call in upstream.calls(prompt) if call.json["temperature"] == 1.2]
        assert sample["top_p"] == 0.9
        assert "seed" not in sample or sample["seed"] != 3


@pytest.mark.parametrize("given", [{"refuses": "n"}, {"most": 1}])
async def test_an_upstream_without_n_is_asked_once_for_each_and_remembered(serving, upstream, given):
    prompt = upstream.script(telling(PARIS, ["Paris", "Lyon", "Paris"] * 2, **given))
    probe_replies(upstream, "n")
    async with serving(route(samples=3)) as running:
        first = await running.chat(prompt)
        assert first.json["idk"]["choices"][0]["decision"] == "answer"
        await learns(running, "n")
        came = len(samples_of(upstream, prompt))
        second = await running.chat(prompt)
        assert second.json["idk"]["extra"]["calls"] == 3
        calls = samples_of(upstream, prompt)
        assert len(calls) == came + 3
        assert all("n" not in call.json for call in calls[1:])


async def test_no_two_samples_share_a_seed(serving, upstream):
    prompt = upstream.script(telling(PARIS, ["Paris"] * 9, refuses="n"))
    async with serving(route(samples=3)) as running:
        await running.chat(prompt)
        await running.chat(prompt, seed=41)
        seeds = [call.json["seed"] for call in samples_of(upstream, prompt) if "n" not in call.json]
        assert len(set(seeds)) == 6
        assert sorted(seeds[3:]) == [42, 43, 44]


async def test_a_refused_seed_is_left_out_and_remembered(serving, upstream):
    prompt = upstream.script(telling(PARIS, ["Paris"] * 6, refuses="seed", most=1))
    async with serving(route(samples=2, score_threshold=0.9)) as running:
        probe_replies(upstream, "seed")
        for ability in ("n", "seed", "seed"):
            got = await running.chat(prompt)
            assert got.json["idk"]["choices"][0]["decision"] == "answer"
            await learns(running, ability)
        assert ["seed" in call.json for call in samples_of(upstream, prompt)][-2:] == [False, False]


async def test_each_choice_is_held_against_the_same_samples(serving, upstream):
    both = answer(says("Paris"), says("Lyon"))
    prompt = upstream.script(telling(both, ["Paris", "Paris", "Lyon"]))
    async with serving(route(samples=3)) as running:
        got = await running.chat(prompt, n=2)
        texts = [choice["message"]["content"] for choice in got.json["choices"]]
        assert texts == ["Paris", "I don't know."]
        assert [round(each["score"], 3) for each in got.json["idk"]["choices"]] == [0.667, 0.333]
        assert len(samples_of(upstream, prompt)) == 1


@pytest.mark.parametrize("said", [says(message={"refusal": "No."}), calls_tool("f", "{}")])
async def test_a_sample_that_declines_agrees_with_nothing(serving, upstream, said):
    prompt = upstream.script(telling(PARIS, [said]))
    async with serving(route(samples=1)) as running:
        assert (await running.chat(prompt)).json["idk"]["choices"][0]["score"] == 0.0


async def test_samples_at_temperature_0_are_no_evidence(serving, upstream):
    prompt = upstream.script(answer(PARIS))
    async with serving(route(samples=3, sampling={"temperature": 0})) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["reason"] == "unmeasured"
        assert len(upstream.calls(prompt)) == 1


async def test_a_tool_call_does_not_wait_for_samples(serving, upstream):
    sampled = asyncio.Event()

    async def reply(call, peer):
        if is_sample(call):
            sampled.set()
            await held()(call, peer)
        else:
            await sampled.wait()
            await answer(calls_tool("f", "{}"))(call, peer)

    prompt = upstream.script(reply)
    async with serving(route(samples=3)) as running:
        got = await running.chat(prompt, tools=[{"type": "function", "function": {"name": "f"}}])
        assert got.json["idk"]["choices"][0]["reason"] == "tool_call"
        assert await asyncio.to_thread(samples_of(upstream, prompt)[0].was_left)


async def test_a_failing_sample_fails_no_request(serving, upstream):
    async def broken(call, peer):
        await (error(500, "out of order") if is_sample(call) else answer(PARIS))(call, peer)

    prompt = upstream.script(broken)
    async with serving(route(samples=1)) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["reason"] == "unmeasured"
        assert running.count("idk_upstream_errors_total", upstream="u", kind="status") == 1


async def test_in_observe_the_stream_flows_and_its_end_waits(serving, upstream):
    prompt = upstream.script(telling(says("Par", "is"), ["Lyon"], holds=True))
    async with serving(route(samples=1, mode="observe")) as running:
        asking = asyncio.create_task(running.chat(prompt, stream=True))
        await asyncio.to_thread(upstream.call, prompt, 1)
        samples_of(upstream, prompt)[0].released.set()
        got = await asking
        assert "Par" in got.text
        assert got.events[-1]["idk"]["choices"][0]["decision"] == "abstain"


# Waiting: samples only where they can change the verdict


async def test_in_the_band_the_answer_comes_first(serving, upstream):
    """A mean logprob alone settles what is sure; the samples are drawn for the rest."""
    sure = upstream.script(telling(says("Paris", logprob=0.0), ["Lyon"] * 5))
    unsure = upstream.script(telling(says("Paris", logprob=-0.9), ["Lyon"] * 5))
    settings = {**TWO, "scorers": ["cocoa"], "score_threshold": -0.5}
    async with serving({"name": "r", **settings, "samples": 5, "sampling": {"wait": "band"}}) as running:
        got = await running.chat(sure)
        assert got.json["idk"]["extra"]["calls"] == 0
        assert got.json["idk"]["choices"][0]["decision"] == "answer"
        assert got.json["idk"]["choices"][0]["source"] == "logprobs"
        assert len(upstream.calls(sure)) == 1
        got = await running.chat(unsure)
        assert got.json["idk"]["choices"][0]["decision"] == "abstain"
        assert got.json["idk"]["choices"][0]["source"] == "logprobs+samples"
        assert [is_sample(call) for call in upstream.calls(unsure)] == [False, True]


@pytest.mark.parametrize(("samples", "drawn"), [("PPPPP", 3), ("LLLLL", 3), ("PLPLP", 5), ("PPLPL", 4)])
async def test_in_sequence_no_sample_is_drawn_in_vain(serving, upstream, samples, drawn):
    """Three of five decide; until they can, all that are needed come at once."""
    said = [{"P": "Paris", "L": "Lyon"}[each] for each in samples]
    prompt = upstream.script(telling(PARIS, said))
    async with serving(route(samples=5, sampling={"wait": "sequential"})) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["extra"]["completion_tokens"] == drawn
        decided = "answer" if samples.count("P") > 2 else "abstain"
        assert got.json["idk"]["choices"][0]["decision"] == decided
        assert samples_of(upstream, prompt)[0].json["n"] == 3


async def test_a_level_stops_sooner(serving, upstream):
    prompt = upstream.script(telling(PARIS, ["Lyon"] * 9))
    settings = route(scorers=["agreement_exact"], samples=9, budget={"samples": 9})
    async with serving({**settings, "sampling": {"wait": "sequential", "level": 0.2}}) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["decision"] == "abstain"
        assert got.json["idk"]["extra"]["completion_tokens"] < 5


async def test_several_prompts_have_no_samples_in_common(serving, upstream):
    """Which choice answers which of them is not known here, so none is measured by them."""

    def completed(count):
        choices = [{"index": place, "text": "Paris", "finish_reason": "stop"} for place in range(count)]
        usage = {"prompt_tokens": 2, "completion_tokens": 2}
        return raw(json.dumps({"choices": choices, "usage": usage}).encode())

    async with serving(route(samples=1)) as running:
        upstream.serve("/v1/completions", completed(2))
        got = await running.ask("/v1/completions", {"model": "m", "prompt": ["a", "b"]})
        assert [each["reason"] for each in got.json["idk"]["choices"]] == ["unmeasured"] * 2
        assert len(upstream.calls("/v1/completions")) == 1
        upstream.serve("/v1/completions", completed(1))
        got = await running.ask("/v1/completions", {"model": "m", "prompt": "a"})
        assert [each["score"] for each in got.json["idk"]["choices"]] == [1.0]


async def test_refused_alternatives_are_left_out_and_remembered(serving, upstream):
    async def reply(call, peer):
        refused = "top_logprobs" in call.json
        await (error(400, "top_logprobs: not supported") if refused else answer(PARIS))(call, peer)

    prompt = upstream.script(reply)
    probe_replies(upstream, "top_logprobs")
    async with serving(route(scorers=["topk_entropy"])) as running:
        for _ in range(2):
            got = await running.chat(prompt)
            assert got.json["idk"]["choices"][0]["reason"] == "unmeasured"
            await learns(running, "top_logprobs")
        asked = [call.json for call in upstream.calls(prompt)]
        assert [("logprobs" in each, "top_logprobs" in each) for each in asked] == [
            (True, True), (True, False), (True, False)
        ]  # fmt: skip
