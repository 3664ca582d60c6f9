"""A whole request within the route's time, or the client's."""

from __future__ import annotations

import asyncio

import pytest

from proxy.requests.deadline import deadline_of
from tests.fakes import answer, held, says

ROUTE = {"name": "r", "mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -1.0}
LONG = answer(says("a", "b", "c", "d"), stop_at=2)


@pytest.mark.parametrize(
    ("limit", "said", "left"),
    [
        (None, b"3", None), (9.0, None, 9.0), (9.0, b"3", 3.0), (9.0, b"30", 9.0), (9.0, b"x", 9.0), (9.0, b"0", 9.0),
        (9.0, b"nan", 9.0), (9.0, b"-1", 9.0),
    ],
)  # fmt: skip
async def test_the_lesser_of_both(limit, said, left):
    headers = [] if said is None else [(b"x-stainless-timeout", said)]
    found = deadline_of(limit, headers)
    if left is None:
        assert found is None
    else:
        assert found - asyncio.get_running_loop().time() == pytest.approx(left, abs=0.5)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_does_not_come_is_a_timeout(serving, upstream, stream):
    async with serving({**ROUTE, "deadline_s": 0.1}) as proxy:
        reply = await proxy.chat(upstream.script(held()), stream=stream)
        assert (reply.status, reply.json["error"]["code"]) == (504, "deadline")
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="timeout") == 1


async def test_a_stream_that_stays_away_is_ended(serving, upstream):
    prompt = upstream.script(LONG)
    async with serving({**ROUTE, "mode": "observe", "deadline_s": 0.2}) as proxy:
        reply = await proxy.chat(prompt, stream=True)
    assert reply.status == 200
    assert b'"code":"deadline"' in reply.body
    assert await asyncio.to_thread(upstream.call(prompt).was_left)


async def test_a_client_that_waits_less_is_told_in_time(serving, upstream):
    prompt = upstream.script(held())
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    async with serving({**ROUTE, "deadline_s": 60}) as proxy:
        reply = await proxy.ask("/v1/chat/completions", body, headers={"x-stainless-timeout": "0.1"})
    assert reply.status == 504
