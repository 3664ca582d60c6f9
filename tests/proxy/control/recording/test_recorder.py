"""The recording queue: what it keeps, what it drops, and that no request waits for it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from random import Random

import pytest

from gating import SCORERS
from proxy.control.recording import Recorder
from proxy.control.recording.event import question_of, records_of
from proxy.control.recording.recorder import QueueLimits
from proxy.exceptions import StoreError, StoreRefused
from proxy.metrics import Metrics
from proxy.server.body_thread import LARGE
from proxy.storage import DecisionQuery, Sealer, make_store
from proxy.storage.link import StoreLink
from proxy.surfaces import SURFACES
from tests.fakes import answer, raw, says
from tests.proxy.control.recording.failing import Failing
from tests.proxy.policies import POLICY

ROUTE = {"name": "r", "mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -1.0}


@pytest.fixture
async def store(tmp_path):
    made = make_store("sqlite:///idk.db", tmp_path, Sealer())
    yield Failing(made)
    await made.aclose()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def link(store, metrics, clock):
    return StoreLink(store, metrics, clock)


def errors(metrics, operation):
    return metrics.registry.get_sample_value("idk_store_errors_total", {"operation": operation}) or 0.0


async def kept(store):
    page = await store.decisions(DecisionQuery(limit=1000))
    return page.items


# The link


async def test_a_failure_is_counted_and_followed_by_a_pause(link, store, metrics, clock):
    store.down = True
    with pytest.raises(StoreError, match="is down"):
        await link.do("follow", lambda s: s.revision())
    asked = store.asked
    with pytest.raises(StoreError, match="failed a moment ago"):
        await link.do("follow", lambda s: s.revision())
    assert store.asked == asked
    assert errors(metrics, "follow") == 1
    store.down = False
    clock.now = 1.0
    assert await link.do("follow", lambda s: s.revision()) == 0


async def test_a_slow_store_is_waited_for_no_longer_than_said(link, store, metrics):
    store.slow = True
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"no answer within 0\.05 s"):
        await link.do("feedback", lambda s: s.revision(), timeout_s=0.05)
    assert time.monotonic() - began < 1.0
    assert errors(metrics, "feedback") == 1


async def test_what_is_not_there_is_no_failure(link, metrics):
    with pytest.raises(StoreRefused):
        await link.do("policy", lambda s: s.roll_back("none", None, "ada", 1.0))
    assert errors(metrics, "policy") == 0
    assert await link.do("policy", lambda s: s.revision()) == 0


# The recorder


@pytest.fixture
def recorded(serving, link):
    """A function that serves a route with recording, and returns the client and the recorder."""

    def serve(route=ROUTE, **given):
        recorder = Recorder(link, Random(0), **given)
        return serving(route, recorder=recorder), recorder

    return serve


async def test_a_decision_becomes_a_record_without_its_texts(recorded, upstream, store):
    serve, recorder = recorded()
    async with serve as proxy:
        prompt = upstream.script(answer(says("Paris", logprob=-0.5), says("Rome", logprob=-3.0), id="c-1"))
        reply = await proxy.chat(prompt, n=2)
    await recorder.flush()
    first, second = await store.decision(reply.headers["x-request-id"])
    assert (first.choice, first.decision, first.reason, first.score, first.confidence) == (
        0, "answer", "confident", -0.5, None,
    )  # fmt: skip
    assert (second.choice, second.decision, second.reason) == (1, "abstain", "below_threshold")
    assert (first.route, first.mode, first.policy, first.completion_id) == ("r", "enforce", None, "c-1")
    assert (first.prompt_tokens, second.prompt_tokens) != (None, first.prompt_tokens)
    assert (first.question, first.answer, second.answer) == (None, None, None)
    assert await store.audit("r") == []


async def test_log_text_keeps_what_was_asked_and_answered(recorded, upstream, store):
    serve, recorder = recorded(log_text=True)
    async with serve as proxy:
        prompt = upstream.script(answer(says("Rome", logprob=-3.0)))
        await proxy.chat(prompt)
    await recorder.flush()
    (record,) = await kept(store)
    assert (record.question, record.answer, record.decision) == (prompt, "Rome", "abstain")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_sample_keeps_the_whole_withheld_answer_with_its_evidence(
    recorded, upstream, store, stream
):
    serve, recorder = recorded({**ROUTE, "audit": 1.0})
    tokens = [f" w{n}" for n in range(40)]
    async with serve as proxy:
        prompt = upstream.script(answer(says(*tokens, logprob=-3.0), id="c-1"))
        reply = await proxy.chat(prompt, stream=stream)
    assert "I don't know." in reply.body.decode()
    await recorder.flush()
    ((item, label),) = await store.audit("r")
    assert label is None
    # A stream is read to its end, though the verdict stood after its first tokens.
    assert item.answer.answer == "".join(tokens)
    assert item.answer.token_logprobs == [-3.0] * 40
    assert (item.answer.question, item.propensity, item.answer.id) == (prompt, 1.0, item.decision.id)
    assert item.decision.completion_id == "c-1"
    assert item.answer.made_with["model"] == "m"
    assert (item.decision.question, item.decision.answer) == (None, None)


async def test_the_sample_keeps_the_vectors_that_an_answer_was_compared_by(recorded, upstream, store):
    vectors = {"Paris": [1.0, 0.0], "The city of Paris": [0.8, 0.6], "Lyon": [0.0, 1.0]}

    async def embed(call, peer):
        data = [{"index": n, "embedding": vectors[text]} for n, text in enumerate(call.json["input"])]
        await raw(json.dumps({"data": data}).encode())(call, peer)

    upstream.serve("/v1/embeddings", embed)
    compared = {
        "scorers": ["agreement_embedding"],
        "samples": 2,
        "embeddings": {"upstream": "u", "model": "e"},
    }
    serve, recorder = recorded({**ROUTE, **compared, "score_threshold": 0.5, "audit": 1.0})
    async with serve as proxy:
        prompt = upstream.script(answer(says("Paris")), answer(says("The city of Paris"), says("Lyon")))
        reply = await proxy.chat(prompt)
    await recorder.flush()
    ((item, _),) = await store.audit("r")
    score = SCORERS["agreement_embedding"].score(item.answer.evidence())
    assert score == pytest.approx(reply.json["idk"]["choices"][0]["score"], abs=1e-5)


async def test_the_sample_says_under_which_condition_an_answer_was_given(recorded, upstream, store):
    """The item's question lacks the worked examples that the route put before it."""
    rag = {"context": "(?s)<c>(.*?)</c>", "rescue": True, "examples": [{"question": "1?", "answer": "2"}]}
    before = "Worked examples:\n\n1?\n2\n\nNow the question:\n\n"
    serve, recorder = recorded({**ROUTE, "audit": 1.0, "rag": rag})
    sure, unsure = answer(says("Paris", logprob=-0.1)), answer(says("Rome", logprob=-3.0))
    found = {}
    async with serve as proxy:
        for name, opened, closed in (
            ("context", sure, sure),
            ("rescued", unsure, sure),
            ("none", None, sure),
        ):
            bare = upstream.script()
            upstream._replies[before + bare] = [closed]
            upstream._replies[f"{before}<c>A</c>{bare}"] = [opened]
            asked = bare if name == "none" else f"<c>A</c>{bare}"
            found[asked] = name
            await proxy.chat(asked)
    await recorder.flush()
    items = [item for item, _ in await store.audit("r")]
    assert {item.answer.question: item.answer.condition for item in items} == found


async def test_the_draw_is_of_the_share_and_knows_nothing_of_the_verdict(recorded, upstream, store):
    serve, recorder = recorded({**ROUTE, "audit": 0.3})
    async with serve as proxy:
        for n in range(120):
            await proxy.chat(upstream.script(answer(says("Paris", logprob=-0.5 - 2 * (n % 2)))))
    await recorder.flush()
    chance = Random(0)
    wanted = sum(chance.random() < 0.3 for _ in range(120))
    items = [item for item, _ in await store.audit("r", limit=1000)]
    assert len(items) == wanted
    assert {item.decision.decision for item in items} == {"answer", "abstain"}


def test_a_route_without_a_sample_draws_nothing():
    class Never(Random):
        def random(self):
            raise AssertionError("it was drawn")

    assert not Recorder(None, Never()).drawn(0.0)


async def test_a_store_that_is_down_delays_no_answer_and_loses_nothing_within_the_bound(
    recorded, upstream, store, metrics, clock
):
    store.down = True
    serve, recorder = recorded(limits=QueueLimits(events=5))
    running = asyncio.create_task(recorder.run())
    async with serve as proxy:
        for _ in range(8):
            assert (await proxy.chat(upstream.script(answer(says("Paris"))))).status == 200
    with pytest.raises(StoreError):
        await recorder.flush()
    dropped = errors(metrics, "record")
    store.down = False
    clock.now = 10.0
    await recorder.flush()
    assert len(await kept(store)) == 5
    assert dropped >= 3
    running.cancel()


async def test_an_item_holds_its_texts_once(recorded, upstream, store):
    serve, recorder = recorded({**ROUTE, "audit": 1.0}, log_text=True)
    async with serve as proxy:
        prompt = upstream.script(answer(says("Rome")))
        await proxy.chat(prompt)
    await recorder.flush()
    ((item, _),) = await store.audit("r")
    assert (item.answer.question, item.answer.answer) == (prompt, "Rome")
    assert (item.decision.question, item.decision.answer) == (None, None)
    (record,) = await kept(store)
    assert (record.question, record.answer) == (prompt, "Rome")


async def test_texts_wait_within_a_separate_bound(recorded, upstream, store, metrics):
    serve, recorder = recorded({**ROUTE, "audit": 1.0}, limits=QueueLimits(text_bytes=15_000))
    async with serve as proxy:
        for _ in range(4):
            await proxy.chat(upstream.script(answer(says(*["word "] * 30))))
        await recorder.flush()
        first = len(await kept(store))
        assert 0 < first < 4
        assert errors(metrics, "record") == 4 - first
        # What was written makes room again.
        await proxy.chat(upstream.script(answer(says(*["word "] * 30))))
    await recorder.flush()
    assert len(await kept(store)) == first + 1


async def test_what_no_store_can_take_does_not_hold_up_the_rest(recorded, upstream, store, metrics, caplog):
    serve, recorder = recorded()
    async with serve as proxy:
        await proxy.chat(upstream.script(answer(says("Paris"))))
        store.broken = True
        await recorder.flush()
        store.broken = False
        await proxy.chat(upstream.script(answer(says("Paris"))))
    await recorder.flush()
    assert len(await kept(store)) == 1
    assert errors(metrics, "record") == 1
    assert "cannot be recorded" in caplog.text


async def test_what_cannot_be_kept_is_counted_once_however_often_it_is_tried(
    recorded, upstream, store, metrics, monkeypatch, clock
):
    def refuse(event):
        raise ValueError(event.id)

    monkeypatch.setattr("proxy.control.recording.recorder.records_of", refuse)
    serve, recorder = recorded()
    async with serve as proxy:
        await proxy.chat(upstream.script(answer(says("Paris"))))
    store.down = True
    for _ in range(3):
        with pytest.raises(StoreError):
            await recorder.flush()
        clock.now += 10.0
    store.down = False
    failures = errors(metrics, "record")
    await recorder.flush()
    assert errors(metrics, "record") - failures == 1


async def test_a_large_text_is_made_a_record_apart_from_the_loop(recorded, upstream, store, monkeypatch):
    threads = []

    def seen(event):
        threads.append(threading.get_ident())
        return records_of(event)

    monkeypatch.setattr("proxy.control.recording.recorder.records_of", seen)
    serve, recorder = recorded(log_text=True)
    prompts = ["small", "x" * LARGE]
    async with serve as proxy:
        for prompt in prompts:
            await proxy.chat(upstream.script(answer(says("Paris")), prompt=prompt))
    await recorder.flush()
    assert [thread == threading.get_ident() for thread in threads] == [True, False]
    assert {record.question for record in await kept(store)} == set(prompts)


async def test_a_request_unlike_the_policys_is_recorded_as_such(recorded, upstream, store, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(POLICY.to_dict()))
    serve, recorder = recorded({"name": "r", "mode": "enforce", "policy": "p.json"})
    async with serve as proxy:
        await proxy.chat(upstream.script(answer(says("Paris"))), model="another", temperature=1)
    await recorder.flush()
    (record,) = await kept(store)
    assert (record.applies, record.reason, record.confidence) == (False, "unmeasured", None)
    assert record.policy.startswith("support#")


async def test_a_store_that_is_back_before_the_end_gets_what_waits(recorded, upstream, store, metrics, clock):
    serve, recorder = recorded(limits=QueueLimits(retry_s=0.0))
    store.down = True
    async with serve as proxy:
        await proxy.chat(upstream.script(answer(says("Paris"))))
    finishing = asyncio.create_task(recorder.finish())
    while errors(metrics, "record") < 1:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    store.down = False
    clock.now += 10.0
    await finishing
    assert len(await kept(store)) == 1


async def test_what_still_waits_at_the_end_is_counted(recorded, upstream, store, metrics, caplog):
    serve, recorder = recorded(limits=QueueLimits(finish_s=0.05))
    store.down = True
    async with serve as proxy:
        await proxy.chat(upstream.script(answer(says("Paris"))))
    await recorder.finish()
    assert "1 decisions were not recorded" in caplog.text
    assert errors(metrics, "record") == 2  # the failure, and what it cost


# The question


@pytest.mark.parametrize(("body", "question"), [
    ({"messages": [{"role": "user", "content": "Q?"}]}, "Q?"),
    ({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q?"}]}, "Q?"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q?"}, {"type": "image_url"}]}]}, "Q?"),
    ({"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."},
                   {"role": "user", "content": "C?"}]}, "user: A?\nassistant: B.\nuser: C?"),
    ({"messages": [{"role": "user", "content": None}]}, None), ({"messages": [3]}, None),
])  # fmt: skip
def test_what_was_asked(body, question):
    request = SURFACES["chat"].parse(json.dumps({"model": "m", **body}).encode())
    assert question_of(request) == question
