"""The ladder: logprobs, then what the route names for answers without, then what it says of unmeasured ones."""

from __future__ import annotations

import pytest

from proxy.exceptions import ConfigError
from tests.fakes import answer, error, says
from tests.proxy.probing import learns, probe_replies
from tests.proxy.requests.evidence.replies import is_sample, telling

LOWER = {"scorers": ["agreement"], "score_threshold": 0.5}


def route(**settings):
    return {
        "name": "r", "scorers": ["mean_logprob"], "score_threshold": -0.5, "mode": "enforce", "samples": 2,
        "fallback": LOWER, **settings,
    }  # fmt: skip


def without_logprobs(served, samples):
    reply = telling(says(served), samples)

    async def refusing(call, peer):
        await (error(400, "logprobs are not supported") if call.json.get("logprobs") else reply)(call, peer)

    return refusing


async def test_with_logprobs_no_sample_is_drawn(serving, upstream):
    prompt = upstream.script(answer(says("Paris")))
    async with serving(route()) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["source"] == "logprobs"
        assert len(upstream.calls(prompt)) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("said", "decision"), [("Paris", "answer"), ("Lyon", "abstain")])
async def test_without_them_samples_decide(serving, upstream, said, decision, stream):
    prompt = upstream.script(without_logprobs("Paris", [said] * 4))
    probe_replies(upstream, "logprobs")
    async with serving(route()) as running:
        for _ in range(2):
            got = await running.chat(prompt, stream=stream)
            idk = got.events[-1]["idk"] if stream else got.json["idk"]
            assert (idk["choices"][0]["decision"], idk["choices"][0]["source"]) == (decision, "samples")
            assert ("Paris" in got.text) is (decision == "answer")
            await learns(running, "logprobs")
        calls = upstream.calls(prompt)
        assert [bool(call.json.get("logprobs")) for call in calls] == [True, False, False, False, False]
        assert sum(map(is_sample, calls)) == 2
        assert (
            running.count("idk_requests_total", route="r", decision=decision, reason=_reason(decision)) == 2
        )


def _reason(decision):
    return "confident" if decision == "answer" else "below_threshold"


async def test_where_nothing_measures_it_the_route_decides(serving, upstream):
    prompt = upstream.script(without_logprobs("Paris", []))
    async with serving(route(budget={"samples": 0}, on_unmeasured="answer")) as running:
        got = await running.chat(prompt)
        choice = got.json["idk"]["choices"][0]
        assert (choice["decision"], choice["reason"]) == ("answer", "budget")


async def test_a_fallback_that_reads_logprobs_is_refused(serving):
    with pytest.raises(ConfigError, match=r"routes\.r\.fallback\.scorers: min_logprob reads logprobs"):
        async with serving(route(fallback={"scorers": ["min_logprob"], "score_threshold": -1})):
            pass
    with pytest.raises(ConfigError, match=r"routes\[0\]\.fallback\.scorers: `agreemen` is not a scorer"):
        async with serving(route(fallback={**LOWER, "scorers": ["agreemen"]})):
            pass
