"""One suite for every backend: what the Protocol promises."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from proxy.exceptions import StoreError
from proxy.storage import Count, DecisionQuery, PolicyTally, SampledOutcome, StoredKey
from tests.proxy.storage.making import decided, drawn, risk, said

P1, P2 = {"name": "support", "threshold": 0.5}, {"name": "support", "threshold": 0.7}


# Policies


async def test_versions_count_from_one_and_the_last_push_is_in_force(store):
    assert await store.policy("support") is None
    first = await store.push_policy("support", P1, "ada", 10.0)
    second = await store.push_policy("support", P2, "bob", 20.0)
    assert (first.label, second.label) == ("support@1", "support@2")
    assert (first.in_force, second.in_force) == (True, True)
    assert await store.policy("support") == second
    old = await store.policy("support", 1)
    assert (old.policy, old.who, old.at, old.in_force) == (P1, "ada", 10.0, False)
    assert await store.policy("support", 3) is None
    await store.push_policy("other", P1, "ada", 30.0)
    assert [each.label for each in await store.policies()] == ["other@1", "support@2", "support@1"]
    assert [each.in_force for each in await store.policies("support")] == [True, False]


async def test_rolling_back_puts_an_older_version_in_force_and_a_push_goes_on_counting(store):
    for policy in (P1, P2, P1):
        await store.push_policy("support", policy, "ada", 10.0)
    assert (await store.roll_back("support", None, "bob", 20.0)).label == "support@2"
    assert (await store.policy("support")).policy == P2
    assert (await store.roll_back("support", None, "bob", 21.0)).label == "support@1"
    assert (await store.roll_back("support", 3, "bob", 22.0)).label == "support@3"
    assert (await store.push_policy("support", P1, "ada", 30.0)).version == 4
    told = [(each.action, each.version, each.who) for each in await store.history("support")]
    assert told == [
        ("push", 4, "ada"), ("rollback", 3, "bob"), ("rollback", 1, "bob"), ("rollback", 2, "bob"),
        ("push", 3, "ada"), ("push", 2, "ada"), ("push", 1, "ada"),
    ]  # fmt: skip


async def test_what_cannot_be_rolled_back_is_said(store):
    with pytest.raises(StoreError, match="no policy `support`"):
        await store.roll_back("support", None, "ada", 1.0)
    await store.push_policy("support", P1, "ada", 1.0)
    with pytest.raises(StoreError, match="support@1 is the oldest version"):
        await store.roll_back("support", None, "ada", 2.0)
    with pytest.raises(StoreError, match="no support@9"):
        await store.roll_back("support", 9, "ada", 2.0)
    assert len(await store.history("support")) == 1


async def test_pushes_at_once_get_a_version_each(store):
    pushed = await asyncio.gather(*(store.push_policy("support", P1, "ada", 1.0) for _ in range(20)))
    assert sorted(each.version for each in pushed) == list(range(1, 21))
    assert len(await store.policies("support")) == 20


async def test_a_change_of_policy_or_risk_is_told(store):
    seen = await store.revision()
    assert await store.changed(seen, 0.01) == seen
    waiting = asyncio.create_task(store.changed(seen, 10.0))
    await store.push_policy("support", P1, "ada", 1.0)
    pushed = await waiting
    assert pushed > seen
    assert await store.changed(seen, 10.0) == pushed
    assert await store.put_risk(risk())
    assert await store.changed(pushed, 10.0) > pushed


# Decisions


async def test_a_decision_is_found_by_its_request_and_by_its_completion(store):
    both = [
        decided(completion_id="chatcmpl-1", question="Q?", answer="A."),
        decided(
            choice=1, completion_id="chatcmpl-1", confidence=None, decision="abstain", reason="unmeasured"
        ),
    ]
    await store.add_decisions(both, [])
    await store.add_decisions([decided("idk-2")], [])
    assert await store.decision("idk-1") == both
    assert await store.decision("chatcmpl-1") == both
    assert await store.decision("idk-3") == []
    assert await store.decision("") == []


async def test_what_is_there_already_stays(store):
    await store.add_decisions([decided()], [drawn(decided())])
    await store.add_decisions([decided(confidence=0.1)], [drawn(decided(confidence=0.1))])
    assert [each.confidence for each in await store.decision("idk-1")] == [0.9]
    assert [item.decision.confidence for item, _ in await store.audit("support")] == [0.9]
    assert await store.tally("support", "support@1") == PolicyTally(answered=1, reported=0)


async def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(store):
    # Several have the same time: a page may end among them.
    records = [decided(f"idk-{n:02}", at=1000.0 + n // 4) for n in range(30)]
    await store.add_decisions(records, [])
    found, cursor = [], None
    for _ in range(5):
        page = await store.decisions(DecisionQuery(limit=7, cursor=cursor))
        found += page.items
        cursor = page.cursor
    assert cursor is None
    assert len(found) == 30
    assert {each.id for each in found} == {each.id for each in records}
    assert [each.at for each in found] == sorted((each.at for each in records), reverse=True)


async def test_decisions_are_filtered(store):
    await store.add_decisions(
        [
            decided("a", 1.0, confidence=0.2, decision="abstain", reason="below_threshold"),
            decided("b", 2.0, confidence=0.5),
            decided("c", 3.0, confidence=None, reason="tool_call"),
            decided("d", 4.0, route="other", confidence=0.5),
            decided("e", 5.0, confidence=1.0),
        ],
        [],
    )

    async def ids(**query):
        return "".join(each.id for each in (await store.decisions(DecisionQuery(**query))).items)

    assert await ids() == "edcba"
    assert await ids(route="support") == "ecba"
    assert await ids(since=2.0, until=5.0) == "dcb"
    assert await ids(low=0.5) == "edb"
    assert await ids(route="support", low=0.2, high=1.0) == "ba"
    assert await ids(decision="abstain") == "a"
    assert await ids(route="support", reason="confident") == "eb"
    assert await ids(route="nobody") == ""
    assert await ids(low=0.5, limit=1) == "e"


async def test_pages_of_a_range_of_confidences(store):
    records = [decided(f"{n}", at=float(n // 2), confidence=n % 5 / 5) for n in range(20)]
    await store.add_decisions(records, [])
    wanted = DecisionQuery(route="support", low=0.2, high=0.6, since=2.0, until=9.0, limit=3)
    found, cursor = [], None
    for _ in range(2):
        page = await store.decisions(msgspec.structs.replace(wanted, cursor=cursor))
        found += page.items
        cursor = page.cursor
    assert cursor is None
    assert sorted(each.id for each in found) == sorted(
        each.id for each in records if each.confidence in (0.2, 0.4) and 2.0 <= each.at < 9.0
    )
    assert [each.at for each in found] == sorted((each.at for each in found), reverse=True)


async def test_a_cursor_of_nobody_is_refused(store):
    with pytest.raises(StoreError, match="cursor"):
        await store.decisions(DecisionQuery(cursor="x"))


async def test_the_nearest_stand_on_either_side(store):
    records = [decided(f"{n}", at=float(n), confidence=n / 10) for n in range(10)]
    await store.add_decisions([*records, decided("none", confidence=None), decided("r", route="other")], [])
    found = await store.nearest("support", 0.5, 2)
    assert [each.confidence for each in found] == [0.3, 0.4, 0.5, 0.6]
    assert await store.confidences("support", 3.0, 3) == [0.9, 0.8, 0.7]
    assert await store.confidences("support", 0.0, 100) == [n / 10 for n in reversed(range(10))]
    assert await store.confidences("support", 3.0, 3, oldest=True) == [0.3, 0.4, 0.5]
    await store.add_decisions([decided("second", 20.0, policy="support@2", confidence=0.25)], [])
    assert await store.confidences("support", 0.0, 100, policy="support@2") == [0.25]


async def test_counts_by_stretches_of_time(store):
    await store.add_decisions(
        [
            decided("a", 59.0), decided("b", 60.0), decided("c", 61.5), decided("d", 119.0, reason="tool_call"),
            decided("e", 120.0, route="other", decision="abstain", reason="unmeasured"),
        ],
        [],
    )  # fmt: skip
    assert await store.counts(60.0, 60.0) == [
        Count(at=60.0, route="support", decision="answer", reason="confident", number=2),
        Count(at=60.0, route="support", decision="answer", reason="tool_call", number=1),
        Count(at=120.0, route="other", decision="abstain", reason="unmeasured", number=1),
    ]


# Labels and the audit sample


async def test_a_label_is_kept_once_for_each_source(store):
    await store.add_decisions([decided()], [])
    assert await store.add_label(said("idk-1", "correct", "audit"))
    assert not await store.add_label(said("idk-1", "correct", "audit", at=3000.0))
    assert await store.add_label(said("idk-1", "incorrect", "feedback"))
    assert await store.add_label(said("idk-1", "incorrect", "audit", at=3000.0))
    assert await store.labels("idk-1") == [
        said("idk-1", "incorrect", "audit", at=3000.0), said("idk-1", "incorrect", "feedback")
    ]  # fmt: skip
    assert await store.remove_label("idk-1", 0, "audit")
    assert not await store.remove_label("idk-1", 0, "audit")
    assert [each.source for each in await store.labels("idk-1")] == ["feedback"]
    assert await store.labels("idk-2") == []


async def test_labels_come_with_their_decisions(store):
    records = [decided("a"), decided("b", question="Q?"), decided("c", route="other")]
    await store.add_decisions(records, [])
    for place, record in enumerate(records):
        await store.add_label(said(record.id, at=2000.0 + place))
    await store.add_label(said("b", "incorrect", "feedback", at=2010.0))
    found = await store.labelled("support")
    assert [(each.label.source, each.decision.id) for each in found] == [
        ("feedback", "b"), ("audit", "b"), ("audit", "a"),
    ]  # fmt: skip
    assert found[0].decision.question == "Q?"
    assert [each.decision.id for each in await store.labelled("support", "audit", limit=1)] == ["b"]


async def test_the_sample_keeps_the_order_in_which_it_was_drawn(store):
    records = [decided(name, at=100.0 - n) for n, name in enumerate("abcd")]
    await store.add_decisions(records, [drawn(each, 0.5) for each in records])
    await store.add_label(said("b", "incorrect"))
    await store.add_label(said("c", "incorrect", "feedback"))
    found = await store.audit("support")
    assert [(item.decision.id, label and label.label) for item, label in found] == [
        ("a", None), ("b", "incorrect"), ("c", None), ("d", None),
    ]  # fmt: skip
    places = [item.place for item, _ in found]
    assert places == sorted(set(places))
    first = found[0][0]
    assert (first.propensity, first.answer, first.decision) == (0.5, drawn(records[0]).answer, records[0])

    async def ids(**given):
        return "".join(item.decision.id for item, _ in await store.audit("support", **given))

    assert await ids(labelled=True) == "b"
    assert await ids(labelled=False) == "acd"
    assert await ids(labelled=False, limit=2) == "ac"
    assert await ids(after=places[1]) == "cd"
    assert await store.audit("other") == []
    item = await store.audit_item("b", 0)
    assert (item.decision.id, item.place) == ("b", places[1])
    assert await store.audit_item("b", 1) is None


async def test_what_the_watch_sees(store):
    records = [
        decided("a"), decided("b", decision="abstain", reason="unmeasured", confidence=None),
        decided("c", policy="support@2"), decided("d", policy=None),
    ]  # fmt: skip
    await store.add_decisions(records, [drawn(each) for each in records])
    await store.add_label(said("a", "incorrect"))
    assert await store.watched("support", "support@1") == [
        SampledOutcome(decision="answer", confidence=0.9, label="incorrect"),
        SampledOutcome(decision="abstain", confidence=None, label=None),
    ]


async def test_what_was_let_out_and_reported_is_counted(store):
    await store.add_decisions(
        [
            decided("a"), decided("b"), decided("c", decision="abstain"), decided("d", policy="support@2"),
            decided("e", reason="tool_call", confidence=None), decided("f", decision="rescue"),
        ],
        [],
    )  # fmt: skip
    for name in "abcdef":
        await store.add_label(said(name, "incorrect", "feedback"))
    await store.add_label(said("b", "correct", "feedback"))
    await store.add_label(said("b", "incorrect", "audit"))
    assert await store.tally("support", "support@1") == PolicyTally(answered=2, reported=1)
    assert await store.tally("support", "support@9") == PolicyTally(answered=0, reported=0)


# Risk


async def test_a_risk_state_is_written_from_the_last_one_alone(store):
    assert await store.risk("support") is None
    assert not await store.put_risk(risk(revision=2))
    assert await store.put_risk(risk(labels=3, errors=1))
    assert not await store.put_risk(risk(labels=9))
    assert await store.put_risk(risk(revision=2, labels=4, errors=2, alarm=True, cause="audit"))
    kept = await store.risk("support")
    assert (kept.labels, kept.errors, kept.alarm, kept.cause, kept.risk) == (4, 2, True, "audit", 0.5)
    await store.put_risk(risk("other"))
    assert [each.route for each in await store.risks()] == ["other", "support"]
    assert (await store.risk("other")).risk is None


# Retention


async def test_age_takes_everything(store):
    records = [decided("old", 10.0, completion_id="c"), decided("new", 20.0)]
    await store.add_decisions(records, [drawn(each) for each in records])
    await store.add_label(said("old"))
    await store.add_label(said("new"))
    assert await store.retain(15.0, 100) == 1
    assert [each.id for each in (await store.decisions(DecisionQuery())).items] == ["new"]
    assert await store.labels("old") == []
    assert await store.decision("c") == []
    assert await store.audit_item("old", 0) is None
    assert [item.decision.id for item, _ in await store.audit("support")] == ["new"]
    assert [each.decision.id for each in await store.labelled("support")] == ["new"]
    assert len(await store.watched("support", "support@1")) == 1
    assert await store.nearest("support", 0.0, 10) == [records[1]]


async def test_a_forgotten_choice_leaves_the_others_of_its_request(store):
    first, second = decided("a", 1.0), decided("a", 1.0, choice=1, completion_id="c")
    await store.add_decisions([first, second, decided("b", 2.0)], [drawn(second)])
    await store.retain(0.0, 1)
    assert second in await store.decision("a")
    assert second in await store.decision("c")
    assert await store.retain(5.0, 1) >= 2
    assert await store.decision("a") == await store.decision("c") == []


async def test_number_takes_what_is_neither_labelled_nor_in_the_sample(store):
    records = [decided(f"{n}", float(n)) for n in range(10)]
    await store.add_decisions(records, [drawn(records[1])])
    await store.add_label(said("2"))
    assert await store.retain(0.0, 20) == 0
    assert await store.retain(0.0, 5) == 3
    left = (await store.decisions(DecisionQuery())).items
    assert [each.id for each in left] == ["9", "8", "7", "6", "5", "2", "1"]
    assert await store.tally("support", "support@1") == PolicyTally(answered=10, reported=0)


# Limits


async def test_what_was_spent_counts_for_a_minute(store):
    """Redis is asked with the caller's time too, so that a test can say it."""
    assert await store.spend("app:requests", 2, 3, 1_000.5) is None
    assert await store.spend("app:requests", 0, 3, 1_001.0) is None
    assert await store.spend("app:requests", 1, 3, 1_010.0) is None
    assert await store.spend("app:requests", 1, 3, 1_020.0) == pytest.approx(41.0, abs=0.01)
    assert await store.spend("app:requests", 3, 3, 1_020.0) == pytest.approx(51.0, abs=0.01)
    assert await store.spend("app:requests", 4, 3, 1_020.0) == 60.0
    assert await store.spend("other", 3, 3, 1_020.0) is None
    assert await store.spend("app:requests", 2, 3, 1_061.0) is None
    assert await store.spend("app:tokens", 10**9, None, 1_060.0) is None


async def test_what_was_spent_before_the_clock_was_set_back_counts_for_a_minute_still(store):
    assert await store.spend("app", 2, 3, 10_000.0) is None
    assert await store.spend("app", 2, 3, 6_400.0) == pytest.approx(61.0, abs=0.01)
    assert await store.spend("app", 1, 3, 6_410.0) is None
    assert await store.spend("app", 2, 3, 6_462.0) is None


async def test_spendings_at_once_are_counted_exactly(store):
    let = await asyncio.gather(*(store.spend("app", 1, 7, 2_000.0) for _ in range(20)))
    assert sum(wait is None for wait in let) == 7


# Keys


async def test_keys_are_kept_once_and_revoked_for_good(store):
    one = StoredKey(name="app", sha256="0" * 64, who="ada", at=1.0, routes=("r",), requests_per_minute=5)
    before = await store.revision()
    assert await store.put_key(one)
    assert await store.revision() > before
    assert not await store.put_key(one)
    assert await store.put_key(StoredKey(name="b", sha256="1" * 64, who="bob", at=2.0))
    assert [key.name for key in await store.keys()] == ["app", "b"]
    assert (await store.keys())[0] == one
    before = await store.revision()
    assert await store.revoke_key("app", 3.0)
    assert await store.revision() > before
    assert not await store.revoke_key("app", 4.0)
    assert not await store.revoke_key("nobody", 4.0)
    assert [key.revoked_at for key in await store.keys()] == [3.0, None]
    assert not await store.put_key(one)


async def test_a_keys_last_use_is_the_latest_that_was_told(store):
    assert await store.key_uses() == {}
    before = await store.revision()
    await store.note_key_uses({"app": 1_700_000_060.25, "b": 5.0})
    # Another replica, which is behind with one and ahead with the other.
    await store.note_key_uses({"app": 1_700_000_000.0, "b": 6.5, "c": 7.0})
    await store.note_key_uses({})
    assert await store.key_uses() == {"app": 1_700_000_060.25, "b": 6.5, "c": 7.0}
    assert await store.revision() == before


async def test_the_last_uses_of_many_keys(store):
    many = {f"key-{n}": float(n) for n in range(250)}
    await asyncio.gather(
        *(store.note_key_uses({name: at - late for name, at in many.items()}) for late in (2, 0, 1))
    )
    assert await store.key_uses() == many


async def test_an_ended_session_stays_ended_until_it_expires(store):
    assert not await store.session_ended("one")
    before = await store.revision()
    now = time.time()
    await store.end_session("one", now + 3_600, now)
    await store.end_session("one", now + 3_600, now)
    await store.end_session("two", now + 7_200, now)
    assert await store.session_ended("one")
    assert not await store.session_ended("three")
    assert await store.revision() == before
