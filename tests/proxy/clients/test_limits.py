"""The limits of one key: requests and tokens a minute, and its share of the requests in flight."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.authentication import Caller
from proxy.clients.limits import LimitReached, Limits
from proxy.exceptions import Overloaded
from proxy.metrics import Metrics
from proxy.storage import Sealer, make_store
from proxy.storage.link import StoreLink
from proxy.storage.window import WINDOW_S, Window
from tests.fakes import answer, held, raw, says

SPENDINGS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5)), max_size=60)


@given(SPENDINGS, st.integers(1, 20))
def test_no_sixty_seconds_ever_hold_more_than_the_most(steps, most):
    window, now, let = Window(), 1_000.0, []
    for pause, amount in steps:
        now += pause
        if window.spend(amount, most, now) is None:
            let.append((now, amount))
    for at, _ in let:
        assert sum(amount for when, amount in let if at - WINDOW_S < when <= at) <= most


@given(SPENDINGS, st.integers(1, 20), st.integers(1, 5))
def test_after_the_wait_that_is_told_it_is_let_through(steps, most, amount):
    window, now = Window(), 1_000.0
    for pause, spent in steps:
        now += pause
        window.spend(spent, most, now)
    wait_s = window.spend(amount, most, now)
    if wait_s is not None and amount <= most:
        assert 0 <= wait_s <= WINDOW_S + 1
        assert window.spend(amount, most, now + wait_s + 1e-6) is None


def test_asking_with_nothing_spends_nothing():
    window = Window()
    for _ in range(10):
        assert window.spend(0, 1, 5.0) is None
    assert window.spend(1, 1, 5.0) is None
    assert window.spend(0, 1, 6.0) == 60.0


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


CALLER = Caller("app", None, requests_per_minute=2, tokens_per_minute=100)


async def test_requests_a_minute():
    clock = Clock()
    limits = Limits(None, 10, several=False, clock=clock, steady=clock)
    await limits.admit(CALLER)
    clock.now += 10
    await limits.admit(CALLER)
    with pytest.raises(LimitReached, match="2 requests a minute") as refused:
        await limits.admit(CALLER)
    assert (refused.value.http_status, refused.value.retry_after_s) == (429, 51.0)
    clock.now += 52
    await limits.admit(CALLER)


async def test_tokens_a_minute_are_known_afterwards():
    clock = Clock()
    limits = Limits(None, 10, several=False, clock=clock, steady=clock)
    await limits.admit(CALLER)
    await limits.used(CALLER, 130)
    with pytest.raises(LimitReached, match="100 tokens a minute"):
        await limits.admit(CALLER)
    await limits.used(Caller("free", None), 10**9)


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0])
@pytest.mark.parametrize("url", [None, "sqlite:///s.db", "memory://"])
async def test_a_clock_that_is_set_neither_frees_a_key_nor_shuts_it_out(step_s, url, tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.clients.limits._WAIT_S", 5.0)
    clock, steady = Clock(), Clock()
    link = None if url is None else StoreLink(make_store(url, tmp_path, Sealer(None)), Metrics())
    limits = Limits(link, 10, several=False, clock=clock, steady=steady)
    await limits.admit(CALLER)
    clock.now += step_s
    await limits.admit(CALLER)
    with pytest.raises(LimitReached) as refused:
        await limits.admit(CALLER)
    assert refused.value.retry_after_s <= WINDOW_S + 1
    for each in (clock, steady):
        each.now += WINDOW_S + 1
    await limits.admit(CALLER)
    if link is not None:
        await link.aclose()


async def test_replicas_share_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "proxy.clients.limits._WAIT_S", 5.0
    )  # a disk that is busy with other things may take its time
    clock = Clock()
    links = [StoreLink(make_store("sqlite:///s.db", tmp_path, Sealer(None)), Metrics()) for _ in range(2)]
    one, other = (Limits(link, 10, several=False, clock=clock, steady=clock) for link in links)
    # The first call opens the file, which may take longer than a request waits.
    for link in links:
        await link.do("limit", lambda store: store.revision())
    await one.admit(CALLER)
    await other.admit(CALLER)
    for limits in (one, other):
        with pytest.raises(LimitReached):
            await limits.admit(CALLER)
    for link in links:
        await link.aclose()


async def test_a_store_that_is_down_leaves_each_to_itself(tmp_path):
    metrics = Metrics()
    link = StoreLink(make_store("redis://127.0.0.1:1/0", tmp_path, Sealer(None)), metrics)
    limits = Limits(link, 10, several=False, steady=Clock())
    await limits.admit(CALLER)
    await limits.admit(CALLER)
    with pytest.raises(LimitReached):
        await limits.admit(CALLER)
    await asyncio.gather(*limits._asked, return_exceptions=True)
    assert metrics.registry.get_sample_value("idk_store_errors_total", {"operation": "limit"}) >= 1


class Hung:
    """A store that says nothing until it is let go."""

    name = "hung"

    def __init__(self):
        self.asked = 0
        self.spent = 0
        self.go = asyncio.Event()

    async def open(self):
        """Open the store, which needs nothing."""

    async def aclose(self):
        """So be it."""

    async def spend(self, account, amount, most, now):
        self.asked += 1
        await self.go.wait()
        self.spent += amount


async def test_a_store_that_hangs_is_asked_once_and_then_left_alone():
    """Else each request would wait for it, and hold a connection to it."""
    store = Hung()
    limits = Limits(StoreLink(store, Metrics()), 10, several=False, steady=Clock())
    many = Caller("app", None, requests_per_minute=50)
    for _ in range(50):
        await limits.admit(many)
    with pytest.raises(LimitReached):
        await limits.admit(many)
    assert store.asked == 1
    store.go.set()
    while limits._asked:
        await asyncio.gather(*limits._asked)
    # Tokens spent in the meantime are reported in one call.
    assert (store.asked, store.spent) == (2, 50)


class Spent(Hung):
    """A store in which others have used a limit up, for ten seconds more."""

    left_s: float | None = 10.0

    async def spend(self, account, amount, most, now):
        await super().spend(account, amount, most, now)
        return self.left_s


@pytest.mark.parametrize("late", [False, True])
async def test_what_the_store_has_refused_is_refused_until_it_may_be_used_again(late, monkeypatch):
    """A refusal that comes too late holds for the next request."""
    monkeypatch.setattr("proxy.clients.limits._WAIT_S", 0.0 if late else 5.0)
    store, steady = Spent(), Clock()
    limits = Limits(StoreLink(store, Metrics()), 10, several=False, steady=steady)
    caller = Caller("app", None, requests_per_minute=50)
    if late:
        await limits.admit(caller)
    store.go.set()
    while limits._asked:
        await asyncio.gather(*limits._asked)
    for after_s in (0.0, 6.0, 3.0):
        steady.now += after_s
        with pytest.raises(LimitReached) as refused:
            await limits.admit(caller)
    assert (store.asked, refused.value.retry_after_s) == (1, 1.0)
    steady.now += 1.5
    store.left_s = None
    monkeypatch.setattr("proxy.clients.limits._WAIT_S", 5.0)
    await limits.admit(caller)
    assert store.asked == 2


def test_no_more_under_way_than_the_most():
    limits = Limits(None, 2, several=False)
    anyone = Caller(None, None)
    with limits.under_way(anyone), limits.under_way(anyone):
        with pytest.raises(Overloaded) as refused, limits.under_way(anyone):
            pass
        assert refused.value.retry_after_s == 1.0
    with limits.under_way(anyone):
        assert limits.open == 1
    assert limits.open == 0


def test_one_key_of_several_leaves_room_for_the_others():
    limits = Limits(None, 8, several=True)
    noisy, quiet = Caller("noisy", None), Caller("quiet", None)
    for _ in range(6):
        limits.enter(noisy.name)
    with pytest.raises(Overloaded):
        limits.enter(noisy.name)
    limits.enter(quiet.name)
    limits.enter(quiet.name)
    with pytest.raises(Overloaded):
        limits.enter(quiet.name)


KEY = {"name": "app", "sha256": hashlib.sha256(b"secret").hexdigest()}
ROUTE = {"name": "r"}
SENT = {"authorization": "Bearer secret"}


async def test_a_client_over_its_limit_is_told_when_to_come_back(serving, upstream):
    prompt = upstream.script(answer(says("x")))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    async with serving(ROUTE, keys=[{**KEY, "requests_per_minute": 2}]) as proxy:
        for _ in range(2):
            assert (await proxy.ask("/v1/chat/completions", body, headers=SENT)).status == 200
        refused = await proxy.ask("/v1/chat/completions", body, headers=SENT)
        assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        other = await proxy.ask("/v1/embeddings", {"model": "m"}, headers=SENT)
        assert other.status == 429
    assert len(upstream.calls(prompt)) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_counted_also_where_a_stream_does_not_tell_them(serving, upstream, stream):
    prompt = upstream.script(answer(says("x", "y")))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    async with serving(
        {**ROUTE, "scorers": ["mean_logprob"]}, keys=[{**KEY, "tokens_per_minute": 9}]
    ) as proxy:
        first = await proxy.ask("/v1/chat/completions", body, headers=SENT)
        assert first.status == 200
        assert b'"usage"' not in first.body or not stream
        assert (await proxy.ask("/v1/chat/completions", body, headers=SENT)).status == 429


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_count_on_a_route_that_is_off_and_on_passed_through_paths(serving, upstream, stream):
    upstream.serve("/v1/embeddings", raw(b'{"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}'))
    prompt = upstream.script(answer(says("x", "y")))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    limited = [{**KEY, "tokens_per_minute": 6}]
    for path, sent in (("/v1/chat/completions", body), ("/v1/embeddings", {"model": "m"})):
        async with serving({**ROUTE, "mode": "off"}, keys=limited) as proxy:
            assert (await proxy.ask(path, sent, headers=SENT)).status == 200
            assert (await proxy.ask(path, sent, headers=SENT)).status == 429


@pytest.mark.parametrize("mode", ["off", "observe"])
async def test_tokens_count_for_a_stream_that_the_client_left(serving, upstream, mode):
    prompt = upstream.script(answer(says(*"abcdefgh"), stop_at=4))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": True}
    leaves = asyncio.Event()
    async with serving(
        {**ROUTE, "mode": mode, "scorers": ["mean_logprob"]}, keys=[{**KEY, "tokens_per_minute": 20}]
    ) as proxy:
        asking = asyncio.create_task(proxy.ask("/v1/chat/completions", body, headers=SENT, leaves=leaves))
        await asyncio.to_thread(upstream.call, prompt)
        leaves.set()
        await asking
        assert (await proxy.ask("/v1/chat/completions", body, headers=SENT)).status == 429


def test_one_key_of_several_has_a_share_of_an_upstreams_connections():
    limits = Limits(None, 100, several=True, max_connections={"u": 4, "v": 4})
    one, other = Caller("one", None), Caller("other", None)
    with limits.upstream_share(one, "u", 2), limits.upstream_share(one, "u"):
        with pytest.raises(Overloaded), limits.upstream_share(one, "u"):
            pass
        with (
            limits.upstream_share(one, "v"),
            limits.upstream_share(other, "u", 9),
        ):  # a first request always enters
            pass
    with limits.upstream_share(one, "u", 3):
        pass
    limits.bound(100, several=False, max_connections={"u": 1})
    with limits.upstream_share(one, "u"), limits.upstream_share(one, "u"):
        pass


async def test_over_the_most_under_way_a_request_is_turned_away(serving, upstream):
    prompt = upstream.script(held(answer(says("x"))))
    async with serving(ROUTE, server={"max_in_flight": 1}) as proxy:
        first = asyncio.ensure_future(proxy.chat(prompt))
        call = await asyncio.to_thread(upstream.call, prompt)
        refused = await proxy.chat(prompt)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        call.released.set()
        assert (await first).status == 200
        assert (await proxy.chat(upstream.script(answer(says("x"))))).status == 200


async def test_what_has_no_gate_counts_as_well(serving, upstream):
    upstream.serve("/v1/embeddings", held(raw(b"{}")))
    async with serving(ROUTE, server={"max_in_flight": 1}) as proxy:
        first = asyncio.ensure_future(proxy.ask("/v1/embeddings", {"model": "m"}))
        call = await asyncio.to_thread(upstream.call, "/v1/embeddings")
        for path in ("/v1/embeddings", "/v1/files", "/v1/chat/completions"):
            refused = await proxy.ask(path, {"model": "m"})
            assert (refused.status, refused.headers["retry-after"]) == (503, "1"), path
        call.released.set()
        assert (await first).status == 200
        upstream.serve("/v1/files", raw(b"{}"))
        assert (await proxy.ask("/v1/files", {"model": "m"})).status == 200


async def test_what_is_under_way_counts_on_after_a_reload(serving, upstream):
    prompt = upstream.script(held(answer(says("x"))))
    async with serving(ROUTE, server={"max_in_flight": 1}) as proxy:
        first = asyncio.ensure_future(proxy.chat(prompt))
        call = await asyncio.to_thread(upstream.call, prompt)
        proxy.app.replace(proxy.parts)
        assert (await proxy.chat(prompt)).status == 503
        call.released.set()
        assert (await first).status == 200
        assert (await proxy.chat(upstream.script(answer(says("x"))))).status == 200


class TestOrigins:
    """Pages of other origins, by CORS."""

    PREFLIGHT = {"origin": "https://app.example", "access-control-request-method": "POST"}  # noqa: RUF012

    async def test_nobody_by_default(self, serving, upstream):
        async with serving(ROUTE) as proxy:
            reply = await proxy.ask("/v1/chat/completions", method="OPTIONS", headers=self.PREFLIGHT)
            assert (reply.status, reply.headers["allow"]) == (405, "POST")
            assert "access-control-allow-origin" not in reply.headers

    async def test_those_that_are_named(self, serving, upstream):
        async with serving(ROUTE, server={"cors_origins": ["https://app.example"]}) as proxy:
            asked = await proxy.ask("/v1/chat/completions", method="OPTIONS", headers=self.PREFLIGHT)
            assert (asked.status, asked.headers["access-control-allow-origin"]) == (
                200,
                "https://app.example",
            )
            stranger = {**self.PREFLIGHT, "origin": "https://evil.example"}
            refused = await proxy.ask("/v1/chat/completions", method="OPTIONS", headers=stranger)
            assert "access-control-allow-origin" not in refused.headers
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": upstream.script(answer(says("x")))}],
            }
            got = await proxy.ask("/v1/chat/completions", body, headers={"origin": "https://app.example"})
            assert got.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-idk-decision" in got.headers["access-control-expose-headers"]
