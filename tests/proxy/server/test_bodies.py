"""Bodies are read and written within limits, and large ones in the worker thread."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import BadRequest
from proxy.server.bodies import LARGE_ANSWER, Bodies, encode_fields, is_large
from proxy.server.body_thread import LARGE, BodyThread
from proxy.surfaces.chat.stream import ChatStream
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.request_fields import RequestDecoder
from proxy.surfaces.responses.over_chat import ResponsesOverChat
from proxy.surfaces.responses.stream import ResponsesStream
from tests.fakes import FakeUpstream, answer, raw, says, stream


class Named(msgspec.Struct):
    """What a body is read as."""

    model: str


@pytest.mark.parametrize("at", [*range(999_990, 1_000_006), 2_499_990])
async def test_what_is_no_utf_8_is_told_by_its_place_wherever_pieces_end(at):
    """As Python's own decoder tells it of the whole."""
    fields = RequestDecoder(Named)
    for letter in ("é", "…", "\N{GRINNING FACE}"):
        text = '{"model":"' + letter * 2_500_000 + '"}'
        body = text.encode()[: 3_000_000 - 2] + b'"}'
        body = body.decode(errors="ignore").encode()
        assert fields(body)[0].model == json.loads(body)["model"]
        broken = body[:at] + b"\xff" + body[at + 1 :]
        with pytest.raises(UnicodeDecodeError) as own:
            broken.decode()
        with pytest.raises(BadRequest, match=re.escape(str(own.value).rpartition(":")[0])):
            fields(broken)


def test_an_answer_is_large_by_its_bytes_or_by_how_dense_it_is():
    assert is_large(b"x" * (LARGE_ANSWER + 1))
    assert not is_large(b"x" * LARGE_ANSWER)
    assert is_large(b"{}," * 30_000)
    assert not is_large(b"{}," * 10_000)  # soon read all the same
    usual = b'{"token":"x","logprob":-0.1,"bytes":[120]},'
    assert not is_large(usual * (LARGE_ANSWER // len(usual)))


@pytest.mark.parametrize("size", [LARGE // 2, 2 * LARGE])
async def test_a_large_request_is_judged_like_a_small_one(serving, upstream, size):
    prompt = upstream.script(answer(says("Paris")), prompt="p" * size)
    async with serving({"name": "r"}) as proxy:
        reply = await proxy.chat(prompt)
        assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "Paris")
        assert upstream.call(prompt).json["messages"][0]["content"] == prompt
        refused = await proxy.ask("/v1/chat/completions", {"model": "m", "messages": "x" * size})
        assert refused.status == 400


UNSURE = {"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": 0.0}
ROUTES = {
    "gated": [{"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -9.0}],
    "off": [{"mode": "off"}],
    "rescued": [UNSURE | {"rag": {"context": "(?s)<c>(.*?)</c>", "rescue": True, "instruct": True}}],
    "escalated": [UNSURE | {"on_low": "escalate", "escalate_to": "strong"}, UNSURE | {"name": "strong"}],
    "asked aside": [UNSURE | {"scorers": ["p_true"]}],
    "without context": [
        UNSURE | {"scorers": ["closed_book_contrast"], "rag": {"context": "(?s)<c>(.*?)</c>"}}
    ],
    "prompted": [UNSURE | {"confidence_prompt": 0.8}],
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("route", ROUTES)
async def test_nothing_is_done_with_a_large_body_on_the_loop(serving, monkeypatch, route, path):
    here, on_the_loop = threading.get_ident(), []

    def watched(name):
        done = getattr(Chat, name)

        def work(self, *given):
            if threading.get_ident() == here:
                on_the_loop.append(name)
            return done(self, *given)

        return work

    for name in ("parse", "edited", "outgoing"):
        monkeypatch.setattr(Chat, name, watched(name))
    large = "<c>Passage.</c>" + "p" * LARGE
    asked = (
        {"input": large} if path == "/v1/responses" else {"messages": [{"role": "user", "content": large}]}
    )
    routes = [{"name": "first", **ROUTES[route][0]}, *ROUTES[route][1:]]
    with FakeUpstream(always=answer(says("Par", "is"))) as upstream:
        settings = {"base_url": upstream.base_url, "formats": ["chat"]}
        async with serving(*routes, upstream=settings) as proxy:
            reply = await proxy.ask(path, {"model": "m", **asked})
    assert (reply.status, on_the_loop) == (200, [])


async def test_a_large_body_that_is_passed_through_names_its_model(serving, upstream):
    upstream.serve("/v1/embeddings", raw(b"{}"))
    async with serving({"name": "r", "models": ["m"]}) as proxy:
        body = {"input": "x" * LARGE, "model": "m"}
        assert (await proxy.ask("/v1/embeddings", body)).status == 200
        assert (await proxy.ask("/v1/embeddings", body | {"model": "n"})).status == 404
        refused = await proxy.ask("/v1/embeddings", body | {"model": "n" * LARGE})
        assert (refused.status, refused.json["error"]["param"]) == (400, "model")
    assert upstream.call("/v1/embeddings").json == body


@pytest.mark.parametrize(("size", "repeated"), [(100, True), (LARGE, False)])
async def test_a_response_repeats_no_more_of_its_request_than_is_soon_written(
    serving, upstream, size, repeated
):
    prompt = upstream.script(answer(says("Paris")))
    asked = {"model": "m", "input": prompt, "instructions": "i" * size, "metadata": {"a": "b"}}
    async with serving({"name": "r"}, upstream={"formats": ["chat"]}) as proxy:
        told = (await proxy.ask("/v1/responses", asked)).json
    assert told["instructions"] == (asked["instructions"] if repeated else None)
    assert told["metadata"] == asked["metadata"]
    assert upstream.call(prompt).json["messages"][0]["content"] == asked["instructions"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_large_answer_is_read_and_written_apart_from_the_loop(serving, upstream, monkeypatch, path):
    here, done = threading.get_ident(), []

    def watched(name):
        work = getattr(Chat, name)

        def seen(self, *given):
            done.append((name, threading.get_ident() == here))
            return work(self, *given)

        return seen

    for name in ("read", "render"):
        monkeypatch.setattr(Chat, name, watched(name))
    prompt = upstream.script(answer(says("x" * LARGE_ANSWER)))
    asked = (
        {"input": prompt} if path == "/v1/responses" else {"messages": [{"role": "user", "content": prompt}]}
    )
    async with serving({"name": "r"}, upstream={"formats": ["chat"]}) as proxy:
        reply = await proxy.ask(path, {"model": "m", **asked})
    assert reply.body.count(b"x" * LARGE_ANSWER) == 1
    assert done == [("read", False), ("render", False)]


KEYS = "{" + ",".join(f'"{number}":1' for number in range(210_000)) + "}"
CHAT = {"choices": [{"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("formats", [["chat"], ["chat", "completions", "responses", "messages"]])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_an_answer_that_takes_too_long_to_read_is_refused_and_counted(serving, upstream, path, formats):
    prompt = upstream.script(raw(f'{json.dumps(CHAT)[:-1]},"x":{KEYS}}}'.encode()))
    asked = (
        {"input": prompt}
        if path == "/v1/responses"
        else {"messages": [{"role": "user", "content": prompt}], "max_tokens": 9}
    )
    async with serving({"name": "r"}, upstream={"formats": formats}) as proxy:
        reply = await proxy.ask(path, {"model": "m", **asked})
        assert reply.status == 502
        assert "over 200000 strings (server.max_answer_strings)" in reply.json["error"]["message"]
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="too_large") == 1


async def test_how_many_strings_an_answer_may_have_is_configured(serving, upstream):
    prompt = upstream.script(raw(f'{json.dumps(CHAT)[:-1]},"x":{KEYS}}}'.encode()))
    async with serving({"name": "r"}, server={"max_answer_strings": 300_000}) as proxy:
        assert (await proxy.chat(prompt)).json["choices"][0]["message"]["content"] == "Paris"


async def test_others_have_their_turn_while_much_of_a_stream_comes_at_once(serving, upstream):
    """Sixteen turns of the loop at the least for half a megabyte of events."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    prompt = upstream.script(stream(event * 10_000 + end))
    longest, turns, over = 0, 0, asyncio.Event()
    read = ChatStream.feed

    async def others():
        nonlocal turns
        while not over.is_set():
            turns += 1
            await asyncio.sleep(0)

    def fed(self, data):
        nonlocal longest
        longest = max(longest, len(data))
        return read(self, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ChatStream, "feed", fed)
        async with serving({"name": "r", "mode": "observe"}) as proxy:
            waiting = asyncio.create_task(others())
            reply = await proxy.chat(prompt, stream=True)
            over.set()
            await waiting
    assert reply.body.count(b'"content":"x"') == 10_000
    assert longest <= 32_768
    assert turns >= 16


async def test_an_answer_that_no_gate_sees_is_translated_apart_from_the_loop(serving, upstream, monkeypatch):
    here, done, translate = threading.get_ident(), [], ResponsesOverChat.from_chat

    def seen(self, *given):
        done.append(threading.get_ident() == here)
        return translate(self, *given)

    monkeypatch.setattr(ResponsesOverChat, "from_chat", seen)
    small, large = upstream.script(answer(says("Paris"))), upstream.script(answer(says("x" * LARGE_ANSWER)))
    async with serving({"name": "r", "mode": "off"}, upstream={"formats": ["chat"]}) as proxy:
        for prompt in (small, large):
            reply = await proxy.ask("/v1/responses", {"model": "m", "input": prompt})
            assert reply.status == 200
    assert reply.body.count(b"x" * LARGE_ANSWER) == 1
    assert done == [True, False]


@pytest.mark.parametrize("mode", ["enforce", "observe"])
async def test_a_large_event_is_read_apart_from_the_loop_and_nothing_is_lost(
    serving, upstream, monkeypatch, mode
):
    here, threads, feed = threading.get_ident(), [], ResponsesStream.feed

    def watched(self, data):
        threads.append((self.pending > LARGE_ANSWER, threading.get_ident() == here))
        return feed(self, data)

    monkeypatch.setattr(ResponsesStream, "feed", watched)
    words = ["word "] * 6_000  # with their logprobs, which the last event repeats, 600 KB
    prompt = upstream.script(answer(says(*words)))
    route = {"mode": mode, "scorers": ["mean_logprob"], "score_threshold": -9.0, "name": "r"}
    async with serving(route, upstream={"formats": ["responses"]}) as proxy:
        reply = await proxy.ask("/v1/responses", {"model": "m", "input": prompt, "stream": True})
    assert reply.status == 200, reply.body[-300:]
    last = json.loads(reply.body.rpartition(b"data: ")[2])
    assert last["response"]["output"][0]["content"][0]["text"] == "".join(words)
    assert (True, False) in threads
    assert (True, True) not in threads


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), VALUE, max_size=4))
def test_an_object_is_encoded_from_its_fields(fields):
    encoded = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    assert msgspec.json.decode(encode_fields(encoded)) == fields


async def test_a_large_object_is_encoded_to_the_same_bytes_in_the_thread():
    body = b'{"model":"m","messages":["' + b"x" * 2_500_000 + b'"],"\\u0022":{"n":1}}'
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    assert (
        encode_fields(fields) == await BodyThread().run(encode_fields, fields) == msgspec.json.encode(fields)
    )


async def test_only_large_bodies_go_to_the_thread():
    bodies, here = Bodies(), threading.get_ident()
    assert await bodies.on_request(LARGE, threading.get_ident) == here
    assert await bodies.on_request(LARGE + 1, threading.get_ident) != here
    assert await bodies.on_answer(LARGE_ANSWER, threading.get_ident) == here
    assert await bodies.on_answer(LARGE_ANSWER + 1, threading.get_ident) != here
