"""The risk watcher: which labels count, when it raises an alarm, and that all replicas agree."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from gating import Certificate
from gating.drift import RiskWatch
from gating.risk import upper_bound
from proxy.config import Route
from proxy.control.risk_watch import (
    KEY_REPORTS_PER_HOUR,
    Report,
    RiskWatcher,
    Target,
    assess,
    counted_reports,
)
from proxy.metrics import Metrics
from proxy.storage import PolicyTally, RiskState, SampledOutcome
from tests.proxy.policies import POLICY
from tests.proxy.storage.making import decided, drawn, said

TARGET = Target(0.1, 0.1, 0.6)
NEW = RiskState(route="support", policy="support@1")
NOBODY = PolicyTally(answered=0, reported=0)


def seen(*labels: str | None, confidence: float = 0.9, decision: str = "answer") -> list[SampledOutcome]:
    return [SampledOutcome(decision=decision, confidence=confidence, label=label) for label in labels]


def reported(number: int) -> list[Report]:
    """Return reports of one key at a pace that its limits allow."""
    return [Report("app", 360.0 * n) for n in range(number)]


def test_labels_count_in_the_order_of_the_draw_up_to_the_first_gap():
    state = assess(NEW, TARGET, seen("correct", "incorrect", None, "incorrect"), NOBODY, 5.0)
    assert (state.labels, state.errors, state.risk, state.at, state.revision) == (2, 1, 0.5, 5.0, 1)
    assert state.log_e == pytest.approx(RiskWatch(0.1, 0.1).add(False).add(True).log_e)


def test_one_that_was_passed_over_is_taken_for_right():
    held_up = assess(NEW, TARGET, seen(None, *["incorrect"] * 49), NOBODY, 5.0)
    assert (held_up.labels, held_up.alarm) == (0, False)
    gone_on = assess(NEW, TARGET, seen(None, *["incorrect"] * 50), NOBODY, 5.0)
    assert (gone_on.labels, gone_on.errors, gone_on.alarm) == (50, 50, True)
    expected = RiskWatch.of_labels(0.1, 0.1, [False, *[True] * 50])
    assert gone_on.log_e == pytest.approx(expected.log_e)


def test_no_more_false_alarms_than_promised_when_the_least_confident_are_labelled_first():
    """Wrong answers have lower confidence, and people label those first, one window at a time."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        wrong = rng.random(200) < 0.1
        confidence = 0.6 + 0.2 * (rng.random(200) + ~wrong)
        first = set(np.argsort(confidence)[:60])
        state = NEW
        for labelled in (first, set(range(200))):
            items = [
                SampledOutcome(
                    decision="answer", confidence=0.9,
                    label=None if place not in labelled else "incorrect" if bad else "correct",
                )
                for place, bad in enumerate(wrong)
            ]  # fmt: skip
            state = assess(state, TARGET, items, NOBODY, 1.0)
        alarms += state.alarm
    assert alarms / 200 <= 0.1 + 0.04  # three standard errors
    # Taken as they come, the first sixty alone would raise one nearly always.
    as_they_come = seen(*["incorrect" if bad else "correct" for bad in sorted(wrong, reverse=True)][:60])
    assert assess(NEW, TARGET, as_they_come, NOBODY, 1.0).alarm


@pytest.mark.parametrize("others", [
    seen(None, decision="abstain"), seen("incorrect", decision="abstain"), seen(None, confidence=0.59),
    [SampledOutcome(decision="answer", confidence=None, label="incorrect")], seen("abstained"),
])  # fmt: skip
def test_what_the_certificate_does_not_speak_of_neither_counts_nor_holds_up(others):
    state = assess(NEW, TARGET, [*others, *seen("correct")], NOBODY, 5.0)
    assert (state.labels, state.errors) == (1, 0)


def test_nothing_new_is_no_new_state():
    state = assess(NEW, TARGET, seen("correct"), NOBODY, 5.0)
    assert assess(state, TARGET, seen("correct", None), PolicyTally(answered=9, reported=0), 6.0) is state


def test_many_wrong_answers_alarm_and_an_alarm_stays():
    state = assess(NEW, TARGET, seen(*["incorrect"] * 6), NOBODY, 5.0)
    assert (state.alarm, state.cause) == (True, "audit")
    assert state.threshold == pytest.approx(0.6 + 6 * 0.05 * 0.9)
    later = assess(state, TARGET, seen(*["incorrect"] * 6, *["correct"] * 500), NOBODY, 6.0)
    assert (later.alarm, later.threshold, later.log_e < 0) == (True, 0.6, True)


def test_without_a_certificate_there_is_a_risk_and_no_alarm():
    state = assess(NEW, None, seen(*["incorrect"] * 50), NOBODY, 5.0)
    assert (state.risk, state.alarm, state.threshold) == (1.0, False, None)


def test_volunteered_labels_alarm_by_what_was_reported_of_all_that_went_out():
    few = assess(NEW, TARGET, [], PolicyTally(answered=1000, reported=50), 5.0, reported(50))
    assert (few.alarm, few.labels, few.risk) == (False, 0, None)
    tally = PolicyTally(answered=1000, reported=200)
    many = assess(few, TARGET, [], tally, 6.0, reported(200))
    assert (many.alarm, many.cause, many.labels, many.reported) == (True, "feedback", 0, 200)
    both = assess(many, TARGET, seen(*["incorrect"] * 6), tally, 7.0, reported(200))
    assert (both.alarm, both.cause) == (True, "audit")


def test_no_more_false_alarms_than_promised_when_wrong_answers_are_reported_five_times_as_often():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        wrong = rng.random(300) < 0.1
        labelled = rng.random(300) < np.where(wrong, 0.5, 0.1)
        number = int((wrong & labelled).sum())
        tally = PolicyTally(answered=300, reported=number)
        alarms += assess(NEW, TARGET, [], tally, 1.0, reported(number)).alarm
    assert alarms == 0  # by the reported share of the labelled alone, each would be one


@pytest.mark.parametrize("number", [3, 99])
def test_the_first_answers_of_a_version_revoke_nothing(number):
    tally = PolicyTally(answered=number, reported=number)
    assert not assess(NEW, TARGET, [], tally, 1.0, reported(number)).alarm


def test_the_reports_of_one_key_count_within_limits_of_time_and_share():
    hour = [Report("stranger", 3_600.0 + n) for n in range(900)]
    assert counted_reports(hour, 1_000, 0.1) == KEY_REPORTS_PER_HOUR
    days = [Report("stranger", 360.0 * n) for n in range(900)]
    assert counted_reports(days, 1_000, 0.1) == 200  # twice what the target allows
    several = [Report(f"key-{n % 40}", 0.0) for n in range(400)]
    assert counted_reports(several, 1_000, 0.1) == 400
    assert counted_reports(several, 99, 0.1) == 0
    tally = PolicyTally(answered=1_000, reported=900)
    assert not assess(NEW, TARGET, [], tally, 1.0, hour).alarm
    assert assess(NEW, TARGET, [], tally, 1.0, several).alarm


def test_a_target_is_that_of_the_certificate():
    certificate = Certificate(0.2, 0.05, errors=3, answered=120, total=200, bound=upper_bound(3, 120, 0.05))
    import dataclasses

    policy = dataclasses.replace(POLICY, certificate=certificate)
    assert Target.of(policy) == (0.2, 0.05, policy.threshold)
    assert Target.of(dataclasses.replace(POLICY, certificate=None)) is None


# With a store


class _Route:
    """The attributes of a route that the watcher reads."""

    name = "support"
    version = "support@1"
    config = Route(name="support", models=["support"], upstream="u")

    class gate:  # noqa: N801
        rule = POLICY


async def labelled(store, number, label="incorrect"):
    records = [decided(f"{label}-{n}") for n in range(number)]
    await store.add_decisions(records, [drawn(each) for each in records])
    for each in records:
        await store.add_label(said(each.id, label))


async def test_two_processes_agree_and_the_certificate_is_revoked_once(link, caplog):
    store = link.store
    await labelled(store, 30)
    metrics = [Metrics(), Metrics()]
    with caplog.at_level(logging.WARNING, "idk"):
        await asyncio.gather(*(RiskWatcher(link, each).look([_Route]) for each in metrics))
    state = await store.risk("support")
    assert (state.labels, state.errors, state.alarm, state.revision) == (30, 30, True, 2)
    assert [record.message for record in caplog.records if "certificate is revoked" in record.message] != []
    for each in metrics:
        assert each.registry.get_sample_value("idk_risk_alarm", {"route": "support"}) == 1
        assert each.registry.get_sample_value("idk_observed_risk", {"route": "support"}) == 1


async def test_another_version_begins_anew(link):
    await labelled(link.store, 30)
    metrics = Metrics()
    await RiskWatcher(link, metrics).look([_Route])

    class Second(_Route):
        version = "support@2"

    await RiskWatcher(link, metrics).look([Second])
    assert metrics.registry.get_sample_value("idk_risk_alarm", {"route": "support"}) == 0
    begun = await link.store.risk("support")
    assert (begun.policy, begun.labels, begun.alarm, begun.revision) == ("support@2", 0, False, 4)


async def test_a_gap_holds_the_rest_back(link):
    await link.store.add_decisions([decided("first")], [drawn(decided("first"))])
    await labelled(link.store, 30)
    metrics = Metrics()
    await RiskWatcher(link, metrics).look([_Route])
    assert metrics.registry.get_sample_value("idk_observed_risk", {"route": "support"}) is None
    await link.store.add_label(said("first", "correct"))
    await RiskWatcher(link, metrics).look([_Route])
    assert metrics.registry.get_sample_value("idk_observed_risk", {"route": "support"}) == 30 / 31


@pytest.mark.parametrize(("keys", "alarm"), [(1, False), (12, True)])
async def test_a_stranger_alone_revokes_nothing(link, keys, alarm):
    records = [decided(f"served-{n}") for n in range(120)]
    await link.store.add_decisions(records, [])
    for n, each in enumerate(records[:60]):
        await link.store.add_label(said(each.id, "incorrect", source="feedback", who=f"key-{n % keys}"))
    metrics = Metrics()
    await RiskWatcher(link, metrics).look([_Route])
    state = await link.store.risk("support")
    assert (state.alarm, state.answered, state.reported) == (alarm, 120, 60)
