"""The client's trace goes on to upstreams, as it came or not at all."""

from __future__ import annotations

import json

import pytest

from proxy.gateway import trace_context
from tests.fakes import answer, error, raw, says

IDS = b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
PARENT = b"00-" + IDS + b"-01"
STATE = b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
SENT = {"traceparent": PARENT.decode(), "tracestate": STATE.decode()}
LINES = [(b"traceparent", PARENT), (b"tracestate", STATE)]


def seen(call):
    return {name: value for name, value in call.headers.items() if name in SENT}


@pytest.mark.parametrize("parent", [
    PARENT, b"00-" + IDS + b"-00", b"01-" + IDS + b"-01", b"cc-" + IDS + b"-01-what-the-future-will-be-like",
])  # fmt: skip
def test_a_sound_parent_goes_on(parent):
    assert trace_context.of([(b"traceparent", parent)]) == ((b"traceparent", parent),)


@pytest.mark.parametrize("parent", [
    b"", b"00", PARENT[:-1], PARENT + b"0", PARENT + b"-more", PARENT + b"\n", PARENT.upper(), b"ff" + PARENT[2:],
    b"0x" + PARENT[2:], PARENT.replace(b"-", b"_"), b"00-" + b"0" * 32 + PARENT[35:],
    PARENT[:36] + b"0" * 16 + b"-01", b"01-" + IDS + b"-01.more", b"01-" + IDS + b"-01-a b",
    b"01-" + IDS + b"-01-" + b"a" * 500, PARENT + b"," + PARENT,
])  # fmt: skip
def test_another_parent_does_not_and_takes_its_state_along(parent):
    assert trace_context.of([(b"traceparent", parent), (b"tracestate", STATE)]) == ()


def test_two_parents_are_none():
    assert trace_context.of([*LINES, (b"traceparent", PARENT)]) == ()


def test_a_state_alone_is_nobodys():
    assert trace_context.of([(b"tracestate", STATE)]) == ()


@pytest.mark.parametrize("state", [
    STATE, b"a=1", b"a=1 , \tb=2", b"a=1,,b=2", b"0tenant@system=x", b"a=" + b"v" * 256, b"k" * 256 + b"=v",
    b"a= leading", b"a=~!\"#$;:/",
    b",".join(b"k%d=v" % n for n in range(32)),
])  # fmt: skip
def test_a_sound_state_goes_on(state):
    assert dict(trace_context.of([(b"traceparent", PARENT), (b"tracestate", state)]))[b"tracestate"] == state


@pytest.mark.parametrize("state", [
    b"", b"a", b"a=", b"=1", b"A=1", b"a=1=2", b"a=\xe9", b"a=x\x7f", b"a=1\r\nb: 2", b"a b=1", b"a=" + b"v" * 257,
    b"k" * 257 + b"=v", b",".join(b"k%d=%s" % (n, b"v" * 100) for n in range(5)),
    b",".join(b"k%d=v" % n for n in range(33)),
])  # fmt: skip
def test_another_state_does_not_and_leaves_the_parent(state):
    assert trace_context.of([(b"traceparent", PARENT), (b"tracestate", state)]) == (LINES[0],)


def test_several_states_are_one_list():
    lines = [(b"tracestate", b"a=1"), (b"traceparent", PARENT), (b"tracestate", b"b=2")]
    assert trace_context.of(lines) == (LINES[0], (b"tracestate", b"a=1,b=2"))


@pytest.mark.parametrize("mode", ["off", "observe", "enforce"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_gated_request_takes_it_on(serving, upstream, mode, stream):
    gate = {} if mode == "off" else {"scorers": ["mean_logprob"], "score_threshold": -1.0}
    async with serving({"name": "r", "mode": mode, **gate}) as proxy:
        prompt = upstream.script(answer(says("x")))
        asked = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream}
        assert (await proxy.ask("/v1/chat/completions", asked, headers=SENT)).status == 200
        assert seen(upstream.call(prompt)) == SENT
        # The next one, which has none, gets none of it.
        prompt = upstream.script(answer(says("x")))
        await proxy.chat(prompt)
        assert seen(upstream.call(prompt)) == {}


async def test_each_attempt_and_each_sample_takes_it_on(serving, upstream):
    prompt = upstream.script(error(503, "busy"), *[answer(says("x"))] * 3)
    route = {
        "name": "r", "mode": "enforce", "scorers": ["agreement_exact"], "score_threshold": 0.5, "samples": 2,
    }  # fmt: skip
    async with serving(route, upstream={"max_retries": 1}) as proxy:
        asked = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        await proxy.ask("/v1/chat/completions", asked, headers=SENT)
    calls = upstream.calls(prompt)
    assert len(calls) >= 3
    assert [seen(call) for call in calls] == [SENT] * len(calls)


async def test_a_broken_one_is_left_out(serving, upstream):
    prompt = upstream.script(answer(says("x")))
    async with serving({"name": "r"}) as proxy:
        asked = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        broken = {**SENT, "traceparent": "00-nothing"}
        assert (await proxy.ask("/v1/chat/completions", asked, headers=broken)).status == 200
    assert seen(upstream.call(prompt)) == {}


@pytest.mark.parametrize(("given", "sent"), [(SENT, SENT), ({**SENT, "traceparent": "00-nothing"}, {})])
async def test_what_is_passed_through_takes_on_what_is_sound(serving, upstream, given, sent):
    path = "/v1/embeddings"
    upstream.serve(path, raw(json.dumps({"data": []}).encode()))
    async with serving({"name": "r"}) as proxy:
        before = len(upstream.calls(path))
        assert (await proxy.ask(path, {"model": "m", "input": "x"}, headers=given)).status == 200
    call = upstream.call(path, before)
    assert seen(call) == sent
