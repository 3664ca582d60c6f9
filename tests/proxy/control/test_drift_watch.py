"""The drift watcher: its looks, its rate of false alarms, and the state that all processes share."""

from __future__ import annotations

import asyncio
import logging
from time import time

import numpy as np
import pytest
from msgspec.structs import replace

from proxy.config import Route
from proxy.control import drift_watch as drift
from proxy.control.drift_watch import WINDOW, DriftWatcher, after_look, first_and_last
from proxy.control.risk_watch import RiskWatcher
from proxy.metrics import Metrics
from proxy.storage import RiskState
from tests.proxy.policies import POLICY
from tests.proxy.storage.making import decided

BEGUN = RiskState(route="support", policy="support@1", since=1_000.0, revision=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(drift, "PACE_S", 0.0)


class Serving:
    """The attributes of a route that the watchers read."""

    name = "support"
    version = "support@1"

    class gate:  # noqa: N801
        rule = POLICY

    def __init__(self, on_drift="warn"):
        self.config = Route(name=self.name, models=["support"], upstream="u", on_drift=on_drift)


async def decide(link, name, values, at=1_000.0):
    records = [decided(f"{name}-{n}", at + n, confidence=float(v)) for n, v in enumerate(values)]
    await link.store.add_decisions(records, [])


def uniform(low, high, n, seed=0):
    return np.random.default_rng(seed).uniform(low, high, n)


async def test_too_few_are_unknown_and_moved_ones_are_drift(link, caplog):
    await link.store.put_risk(BEGUN)
    await decide(link, "before", uniform(0, 0.2, 600), at=100.0)  # another version's time
    watch = DriftWatcher(link)
    await decide(link, "few", uniform(0.5, 1, 98))
    await watch.look([Serving()])
    assert (await link.store.risk("support")).drift is None
    await decide(link, "more", uniform(0.5, 1, 900, 1), at=2_000.0)
    await watch.look([Serving()])
    state = await link.store.risk("support")
    assert state.drift < 0.15
    assert (state.drifted, state.looks, state.alarm) == (False, 1, False)
    with caplog.at_level(logging.WARNING, "idk"):
        await decide(link, "low", uniform(0, 0.5, 500), at=9_000.0)
        await watch.look([Serving()])
    state = await link.store.risk("support")
    assert (state.drift, state.drifted, state.looks, state.alarm) == (1.0, True, 2, False)
    assert (
        "support: the confidences under support@1 have drifted (Kolmogorov-Smirnov distance 1.00): the"
        in caplog.text
    )


async def test_what_was_found_is_shown_and_stays_until_another_version(link):
    await link.store.put_risk(BEGUN)
    await decide(link, "first", uniform(0.5, 1, 100))
    await decide(link, "last", uniform(0, 0.5, 100), at=2_000.0)
    await DriftWatcher(link).look([Serving("revoke")])
    await decide(link, "back", uniform(0.5, 1, 500), at=3_000.0)
    await DriftWatcher(link).look([Serving("revoke")])
    assert (await link.store.risk("support")).drifted
    for on_drift, shown in (("warn", 0), ("revoke", 1), ("abstain", 1)):
        metrics = Metrics()
        await RiskWatcher(link, metrics).look([Serving(on_drift)])
        assert metrics.registry.get_sample_value("idk_risk_alarm", {"route": "support"}) == shown
        assert metrics.registry.get_sample_value("idk_drift", {"route": "support"}) == 1.0
    Serving.version, before = "support@2", Serving.version
    try:
        await RiskWatcher(link, Metrics()).look([Serving("revoke")])
    finally:
        Serving.version = before
    begun = await link.store.risk("support")
    assert (begun.policy, begun.drifted, begun.drift, begun.looks) == ("support@2", False, None, 0)


async def test_the_ends_share_no_confidence(link):
    await decide(link, "d", np.arange(301) / 1_000)
    first, last = await first_and_last(link.store, "support", "support@1", 0.0)
    assert sorted(first) == [n / 1_000 for n in range(151)]
    assert sorted(last) == [n / 1_000 for n in range(151, 301)]
    await decide(link, "e", np.full(2 * WINDOW, 0.9), at=5_000.0)
    first, last = await first_and_last(link.store, "support", "support@1", 0.0)
    assert (len(first), len(last), min(first), set(last)) == (WINDOW, WINDOW, 0.0, {0.9})


async def test_processes_share_their_looks(link, monkeypatch):
    await link.store.put_risk(BEGUN)
    await decide(link, "d", uniform(0.5, 1, 200))
    watches = [DriftWatcher(link) for _ in range(4)]
    for watch in watches:
        await watch.look([Serving()])
    assert (await link.store.risk("support")).looks == 4
    for watch in watches:
        await watch.look([Serving()])
    assert (await link.store.risk("support")).looks == 4  # nothing new to look at
    await decide(link, "e", uniform(0.5, 1, 20), at=2_000.0)
    await asyncio.gather(*(watch.look([Serving()]) for watch in watches))
    state = await link.store.risk("support")
    assert (state.looks, state.revision) == (5, 6)  # of those that look at once one is counted, and tells
    monkeypatch.setattr(drift, "PACE_S", 60.0)
    await decide(link, "f", uniform(0.5, 1, 20), at=3_000.0)
    await watches[0].look([Serving()])
    assert (await link.store.risk("support")).looks == 5


async def test_what_was_found_while_another_process_wrote_is_found_again(link):
    await link.store.put_risk(BEGUN)
    await decide(link, "first", uniform(0.5, 1, 100))
    await decide(link, "last", uniform(0, 0.5, 100), at=2_000.0)
    watch, put = DriftWatcher(link), link.store.put_risk
    lost = []

    async def put_late(state):
        if not lost:
            lost.append(await put(replace(BEGUN, labels=1, revision=2)))
        return await put(state)

    link.store.put_risk = put_late
    await watch.look([Serving()])
    state = await link.store.risk("support")
    assert (lost, state.labels, state.looks, state.drifted) == ([True], 1, 0, False)
    await watch.look([Serving()])
    state = await link.store.risk("support")
    assert (state.labels, state.looks, state.drifted) == (1, 1, True)


async def test_a_clock_that_was_set_back_stops_no_looks(link, monkeypatch):
    monkeypatch.setattr(drift, "PACE_S", 60.0)
    await link.store.put_risk(replace(BEGUN, looked=time() + 86_400))
    await decide(link, "d", uniform(0.5, 1, 200))
    await DriftWatcher(link).look([Serving()])
    assert (await link.store.risk("support")).looks == 1


def test_no_more_false_warnings_than_promised_over_many_looks():
    """Looks after every twenty requests whose distribution never changes."""
    found = 0
    for seed in range(200):
        values = uniform(0, 1, 1_200, seed).tolist()
        state = BEGUN
        for n in range(100, 1_200, 20):
            seen = values[:n]
            half = min(n // 2, WINDOW)
            state = after_look(state, seen[:half], seen[-half:], 1.0)
            found += state.drifted
            if state.drifted:
                break
    assert found / 200 <= drift.DRIFT_DELTA


def test_a_look_at_too_few_changes_nothing():
    assert after_look(BEGUN, [0.5] * 49, [0.5] * 49, 5.0) is BEGUN
