"""What is done with a large body is done apart from the loop, and comes out as it does on it."""

from __future__ import annotations

import threading

import pytest

from proxy.exceptions import BadRequest
from proxy.large import LARGE, apart
from tests.fakes import answer, says


async def test_what_is_large_has_a_thread_of_its_own():
    here = threading.get_ident()
    assert await apart(False, threading.get_ident) == here
    assert await apart(True, threading.get_ident) != here


@pytest.mark.parametrize("large", [False, True])
async def test_what_it_raises_comes_back(large):
    def refuse(word: str) -> None:
        raise BadRequest(word)

    with pytest.raises(BadRequest, match="too odd"):
        await apart(large, refuse, "too odd")


@pytest.mark.parametrize("size", [LARGE // 2, 2 * LARGE])
async def test_a_large_request_is_judged_like_a_small_one(serving, upstream, size):
    prompt = upstream.script(answer(says("Paris")), prompt="p" * size)
    async with serving({"name": "r"}) as proxy:
        reply = await proxy.chat(prompt)
        assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "Paris")
        assert upstream.call(prompt).json["messages"][0]["content"] == prompt
        refused = await proxy.ask("/v1/chat/completions", {"model": "m", "messages": "x" * size})
        assert refused.status == 400
