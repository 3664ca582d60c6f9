"""What is done with a large body is done apart from the loop, and comes out as it does on it."""

from __future__ import annotations

import asyncio
import gc
import json
import platform
import re
import resource
import threading
from time import perf_counter

import msgspec
import pytest

from proxy.exceptions import BadRequest
from proxy.server.large_bodies import LARGE, LARGE_ANSWER, REST_S, SHORT_S, Turns, is_large, pause, prefault
from proxy.surfaces.chat.stream import ChatStream
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.reading import Fields
from proxy.surfaces.responses.stream import ResponsesStream
from proxy.surfaces.translation import Plain
from tests.fakes import FakeUpstream, answer, raw, says, stream


class Named(msgspec.Struct):
    """What a body is read as."""

    model: str


async def test_what_is_large_has_a_thread_of_its_own():
    turns, here = Turns(), threading.get_ident()
    assert await turns.run(False, threading.get_ident) == here
    assert await turns.run(True, threading.get_ident) != here


@pytest.mark.parametrize("large", [False, True])
async def test_what_it_raises_comes_back(large):
    def refuse(word: str) -> None:
        raise BadRequest(word)

    with pytest.raises(BadRequest, match="too odd"):
        await Turns().run(large, refuse, "too odd")


async def test_one_after_the_other():
    """Of several threads at once the loop's would have to wait for each."""
    turns, under_way, seen = Turns(), threading.Lock(), []

    def work(number: int) -> int:
        assert under_way.acquire(blocking=False)
        seen.append(number)
        under_way.release()
        return threading.get_ident()

    threads = await asyncio.gather(*(turns.run(True, work, number) for number in range(20)))
    assert (seen, len(set(threads))) == (list(range(20)), 1)


async def test_the_loop_has_its_turn_between_two_of_them():
    """A loop that waits at each of its own calls waits for one piece of work in between, not for all that wait."""
    turns, seen = Turns(), []

    async def one(number: int) -> None:
        await turns.run(True, seen.append, f"work {number}")
        seen.append(f"loop {number}")

    await asyncio.gather(*(one(number) for number in range(20)))
    assert seen == [f"{who} {number}" for number in range(20) for who in ("work", "loop")]


async def test_long_work_pauses_for_a_round_of_the_loop():
    """Whatever the loop has to do meanwhile is done, each of its callbacks, before the work goes on."""
    turns, seen, loop = Turns(), [], asyncio.get_running_loop()

    def work(name: str) -> str:
        for number in range(3):
            for callback in range(4):
                loop.call_soon_threadsafe(seen.append, f"loop {number} {callback}")
            until = perf_counter() + 2 * SHORT_S
            while perf_counter() < until:
                pass
            pause()
            seen.append(f"{name} {number}")
        if name == "odd":
            raise BadRequest("too odd")
        return name.upper()

    assert await turns.run(True, work, "a") == "A"
    for number in range(3):
        at = seen.index(f"a {number}")
        assert {f"loop {number} {callback}" for callback in range(4)} <= set(seen[:at])
    with pytest.raises(BadRequest, match="too odd"):
        await turns.run(True, work, "odd")


async def test_short_work_and_work_on_the_loop_itself_pause_for_nothing():
    turns, seen, loop = Turns(), [], asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(seen.append, "loop")
        pause()
        seen.append("work")

    pause()
    await turns.run(False, work)
    assert seen == ["work"]
    await asyncio.sleep(0)
    assert seen == ["work", "loop"]


async def test_the_loop_goes_round_between_two_pieces_of_long_work():
    turns, seen, loop = Turns(), [], asyncio.get_running_loop()

    def work(number: int) -> None:
        until = perf_counter() + 2 * SHORT_S
        while perf_counter() < until:
            pass
        seen.append(number)

    def tick() -> None:
        seen.append("tick")
        loop.call_later(REST_S / 2, tick)

    tick()
    await asyncio.gather(*(turns.run(True, work, number) for number in range(4)))
    for number in range(3):
        assert "tick" in seen[seen.index(number) : seen.index(number + 1)]


def test_a_loop_that_has_stopped_is_not_waited_for():
    """A client that left in the middle: the process must end all the same."""
    loop = asyncio.new_event_loop()
    turns, at_it, go = Turns(), threading.Event(), threading.Event()

    def work() -> None:
        at_it.set()
        go.wait(60)
        pause()

    task = loop.create_task(turns.run(True, work))
    loop.run_until_complete(asyncio.sleep(0))
    assert at_it.wait(60)
    loop.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    turns.close()
    loop.close()
    go.set()
    turns._thread.shutdown(wait=True)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another allocator may give everything back at once"
)
async def test_memory_that_is_had_ready_is_not_touched_for_the_first_time():
    """Of 20 MB anew there are 4,883 pages, each a fault that the loop would wait for."""
    size = 20_000_000

    def faults() -> int:
        prefault(size)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        bytearray(size)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    turns = Turns()
    await turns.run(True, faults)  # the allocator learns that blocks of such a size come back
    assert await turns.run(True, faults) < 500


async def test_nothing_is_had_ready_for_work_on_the_loop():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    prefault(20_000_000)
    await Turns().run(False, prefault, 20_000_000)
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < 500


@pytest.mark.parametrize("at", [*range(999_990, 1_000_006), 2_499_990])
async def test_what_is_no_utf_8_is_told_by_its_place_wherever_pieces_end(at):
    """As Python's own decoder tells it of the whole."""
    fields = Fields(Named)
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


async def test_the_garbage_collector_does_not_look_meanwhile():
    turns = Turns()
    assert await turns.run(False, gc.isenabled)
    assert not await turns.run(True, gc.isenabled)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        await turns.run(True, lambda: 1 // 0)
    assert gc.isenabled()


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
    here, done, end = threading.get_ident(), [], Plain.end

    def seen(self):
        done.append(threading.get_ident() == here)
        return end(self)

    monkeypatch.setattr(Plain, "end", seen)
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
