"""Retries have a budget that all requests to an upstream share, and a breaker before them."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import UpstreamStatus, UpstreamUnreachable
from proxy.metrics import Metrics
from proxy.upstreams.attempts import Attempts, Throttle
from proxy.upstreams.breaker import Breaker, UpstreamOpen
from proxy.upstreams.retry import Backoff


class Quick(Random):
    def uniform(self, a, b):
        return 0.0


def attempts(retries=2, failures=0, open_s=60.0):
    return Attempts(Backoff(retries, 5.0, Quick()), Breaker(failures, open_s), Metrics().upstream("u"))


class Calls:
    """Fails as often as it was told, then answers."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.made = 0

    async def __call__(self):
        self.made += 1
        outcome = self.outcomes.pop(0) if self.outcomes else "answer"
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


DOWN = UpstreamUnreachable("down")


async def test_the_first_answer_is_the_answer():
    once = Calls(DOWN, UpstreamStatus("busy", status=429))
    assert await attempts().run(once) == "answer"
    assert once.made == 3


async def test_what_was_refused_is_not_asked_again():
    once = Calls(UpstreamStatus("no", status=400))
    with pytest.raises(UpstreamStatus):
        await attempts().run(once)
    assert once.made == 1


async def test_an_upstream_that_is_down_is_soon_asked_once_a_request():
    """Ten tokens, a retry while more than five are left (gRPC A6): four retries in all, then none."""
    tried = attempts(retries=10)
    made = []
    for _ in range(4):
        once = Calls(*[DOWN] * 20)
        with pytest.raises(UpstreamUnreachable):
            await tried.run(once)
        made.append(once.made)
    assert made == [5, 1, 1, 1]


async def test_answers_bring_the_budget_back():
    tried = attempts(retries=1)
    for _ in range(6):
        with pytest.raises(UpstreamUnreachable):
            await tried.run(Calls(DOWN, DOWN))
    for _ in range(70):
        await tried.run(Calls())
    assert await tried.run(Calls(DOWN)) == "answer"


async def test_an_open_breaker_sends_nothing():
    tried = attempts(retries=0, failures=2)
    for _ in range(2):
        with pytest.raises(UpstreamUnreachable):
            await tried.run(Calls(DOWN))
    once = Calls()
    with pytest.raises(UpstreamOpen):
        await tried.run(once)
    assert once.made == 0


async def test_a_cancelled_call_leaves_the_breaker_free():
    tried = attempts(retries=0, failures=1, open_s=1e-9)
    with pytest.raises(UpstreamUnreachable):
        await tried.run(Calls(DOWN))
    with pytest.raises(asyncio.CancelledError):
        await tried.run(Calls(asyncio.CancelledError()))
    assert await tried.run(Calls()) == "answer"


@given(st.lists(st.booleans(), max_size=200))
def test_the_budget_stays_within_its_bounds(outcomes):
    throttle = Throttle()
    for failed in outcomes:
        if failed:
            assert throttle.failed() == (throttle.tokens > 5.0)
        else:
            throttle.succeeded()
        assert 0.0 <= throttle.tokens <= 10.0
