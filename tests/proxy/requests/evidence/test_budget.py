"""The budget of further calls is hard: what it does not allow is not asked, and the reason says so."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import answer, held, raw, says
from tests.proxy.probing import learns, probe_replies
from tests.proxy.requests.evidence.replies import is_sample, telling

PARIS = says("Paris")


def route(**settings):
    return {"name": "r", "scorers": ["agreement"], "score_threshold": 0.5, "mode": "enforce", **settings}


def samples_of(upstream, prompt):
    return [call for call in upstream.calls(prompt) if is_sample(call)]


@pytest.mark.parametrize(("lenient", "decision"), [("abstain", "abstain"), ("answer", "answer")])
async def test_no_more_samples_than_it_allows(serving, upstream, lenient, decision):
    prompt = upstream.script(telling(PARIS, ["Paris", "Lyon"]))
    async with serving(route(samples=5, budget={"samples": 2}, on_unmeasured=lenient)) as running:
        got = await running.chat(prompt)
        choice = got.json["idk"]["choices"][0]
        assert (choice["decision"], choice["reason"], choice["score"]) == (decision, "budget", None)
        (call,) = samples_of(upstream, prompt)
        assert call.json["n"] == 2


async def test_what_the_allowed_samples_settle_is_decided(serving, upstream):
    prompt = upstream.script(telling(PARIS, ["Paris"] * 3))
    async with serving(route(samples=5, budget={"samples": 3})) as running:
        got = await running.chat(prompt)
        choice = got.json["idk"]["choices"][0]
        assert (choice["decision"], choice["reason"], choice["score"]) == ("answer", "confident", 0.6)


async def test_time_ends_it(serving, upstream):
    prompt = upstream.script(telling(PARIS, ["Paris"], holds=True))
    async with serving(route(samples=1, budget={"timeout_s": 0.05})) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["reason"] == "budget"
        assert await asyncio.to_thread(samples_of(upstream, prompt)[0].was_left)


async def test_a_slow_answer_is_not_cut_by_it(serving, upstream):
    """The time is what a verdict may come later than its answer."""
    slow = held(answer(PARIS))
    prompt = upstream.script(telling(slow, ["Paris"]))
    async with serving(route(samples=1, budget={"timeout_s": 5})) as running:
        asking = asyncio.create_task(running.chat(prompt))
        await asyncio.to_thread(upstream.call, prompt, 1)
        (call,) = [call for call in upstream.calls(prompt) if not is_sample(call)]
        call.released.set()
        assert (await asking).json["idk"]["choices"][0]["decision"] == "answer"


async def test_a_route_has_so_many_calls_at_one_time(serving, upstream):
    """A request without free slots does not wait for others; with too few it uses those."""
    prompt = upstream.script(telling(PARIS, ["Paris"] * 9, holds=True))
    free = upstream.script(telling(PARIS, ["Paris"] * 9))
    async with serving(route(samples=3, budget={"concurrency": 1})) as running:
        probe_replies(upstream, "n")
        await running.chat(upstream.script(telling(PARIS, ["Paris"] * 3, refuses="n")))
        await learns(running, "n")
        first = asyncio.create_task(running.chat(prompt))
        await asyncio.to_thread(upstream.call, prompt, 1)
        got = await running.chat(free)
        assert got.json["idk"]["choices"][0]["reason"] == "budget"
        assert samples_of(upstream, free) == []
        first.cancel()
        await asyncio.wait([first])
        got = await running.chat(free)
        assert got.json["idk"]["choices"][0]["decision"] == "answer"
        assert got.json["idk"]["extra"]["completion_tokens"] == 3


async def test_tokens_bound_what_is_asked(serving, upstream):
    """The prompt is known once the answer is there: samples wait for it, and are cut so that all fit."""
    prompt = upstream.script(telling(PARIS, ["Paris"] * 3))
    async with serving(route(samples=3, budget={"tokens": 7 + 3 * 5})) as running:
        got = await running.chat(prompt, max_tokens=50)
        assert got.json["idk"]["choices"][0]["decision"] == "answer"
        (call,) = samples_of(upstream, prompt)
        assert (call.json["n"], call.json["max_tokens"]) == (3, 5)


async def test_a_sample_that_was_cut_by_it_is_none(serving, upstream):
    prompt = upstream.script(telling(PARIS, [says("Paris", finish_reason="length")] * 3))
    async with serving(route(samples=3, budget={"tokens": 30})) as running:
        choice = (await running.chat(prompt)).json["idk"]["choices"][0]
        assert (choice["reason"], choice["score"]) == ("budget", None)


@pytest.mark.parametrize("tokens", [3, 9])
async def test_where_they_do_not_suffice_nothing_is_asked(serving, upstream, tokens):
    prompt = upstream.script(telling(PARIS, ["Paris"] * 3))
    async with serving(route(samples=3, budget={"tokens": tokens})) as running:
        assert (await running.chat(prompt)).json["idk"]["choices"][0]["reason"] == "budget"
        assert samples_of(upstream, prompt) == []


async def test_what_is_not_counted_cannot_be_bounded(serving, upstream):
    body = b'{"choices": [{"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}]}'
    prompt = upstream.script(telling(raw(body), ["Paris"]))
    async with serving(route(samples=1, budget={"tokens": 1000})) as running:
        assert (await running.chat(prompt)).json["idk"]["choices"][0]["reason"] == "budget"
        assert samples_of(upstream, prompt) == []
