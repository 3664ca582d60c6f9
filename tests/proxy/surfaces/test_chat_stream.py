"""Streamed chat completions: nothing leaves before its verdict, and what is served is the upstream's own."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating import SCORERS, Gate
from gating.early import early_abstention
from gating.gate import Uncalibrated
from gating.types import Unmeasured
from proxy.exceptions import UpstreamCut, UpstreamGarbage, UpstreamStatus
from proxy.surfaces.chat.surface import Chat
from tests.proxy.surfaces.verdicts import LOGPROBS, NOTHING, TEXT, TOPS, verdict

CHAT = Chat()
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}


def request(n=1, **fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": True, "n": n, **fields}
    return CHAT.parse(json.dumps(body).encode())


def part(index, text=None, *, logprob=-0.25, finish=None, **delta):
    if text is not None:
        delta["content"] = text
    logprobs = None
    if text:
        token = {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
        logprobs = {"content": [token], "refusal": None}
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def chunk(*choices, **fields):
    envelope = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**envelope, "choices": list(choices), **fields}


def sent(events, *, done=True):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + (
        DONE if done else b""
    )


def received(data):
    """Return the events that a client reads, and whether ``[DONE]`` ended them."""
    blocks = data.decode().split("\n\n")
    assert blocks.pop() == ""
    payloads = [block.removeprefix("data: ") for block in blocks]
    done = payloads[-1:] == ["[DONE]"]
    return [json.loads(payload) for payload in payloads[: len(payloads) - done]], done


def answer(*texts, index=0, finish="stop"):
    return [
        chunk(part(index, "", role="assistant")),
        *[chunk(part(index, text)) for text in texts],
        chunk(part(index, finish=finish)),
    ]


def run(pieces, asked, *, ask=LOGPROBS, hold=True, withheld=(), make=None):
    """Return what was sent while the pieces arrived, and what was sent at the end."""
    reader = CHAT.stream(asked, ask, hold=hold, watch=make)
    flowed = [reader.feed(piece) for piece in pieces]
    completion = reader.completion()
    return flowed, reader.finish(completion, verdict(completion, withheld)), completion


@st.composite
def streams(draw, name="SERVED{}".format):
    """Draw the texts of choices and a stream of them: interleaved, with shared chunks, cut anywhere."""
    n = draw(st.integers(1, 3))
    texts = [
        [name(index), *draw(st.lists(st.sampled_from(["a", " b", "é", "\n\n"]), max_size=4))]
        for index in range(n)
    ]
    queues = []
    for index, tokens in enumerate(texts):
        queue = [part(index, "", role="assistant"), *[part(index, text) for text in tokens]]
        if draw(st.booleans()):
            queue.append(part(index, finish="stop"))
        else:
            queue[-1]["finish_reason"] = "length"
        queues.append(queue)
    groups = []
    while any(queues):
        takers = draw(st.sets(st.sampled_from([i for i, queue in enumerate(queues) if queue]), min_size=1))
        groups.append([queues[index].pop(0) for index in sorted(takers)])
    events = [chunk(*group, provider={"text": "provider"}) for group in groups]
    usage = draw(st.sampled_from(["none", "own chunk", "last chunk"]))
    if usage == "own chunk":
        events.append(chunk(usage=USAGE))
    elif usage == "last chunk":
        events[-1]["usage"] = USAGE
    data = sent(events, done=draw(st.booleans()))
    if draw(st.booleans()):
        data = b": hello\n\n" + data.replace(b"\n", b"\r\n")
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=6).map(sorted))
    pieces = [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]
    return texts, events, pieces


def bare(event, *, asked):
    """Return an event as the client gets it: without ``idk``, and without logprobs that it did not ask for."""
    choices = [{**each, "logprobs": each["logprobs"] if asked else None} for each in event["choices"]]
    return {**{key: value for key, value in event.items() if key != "idk"}, "choices": choices}


@given(streams(), st.booleans(), st.booleans())
def test_a_served_stream_is_the_upstreams_with_idk_in_its_last_chunk(stream, hold, asked):
    texts, events, pieces = stream
    asked_for = request(len(texts), logprobs=asked)
    flowed, end, completion = run(pieces, asked_for, hold=hold)
    if hold:
        assert not any(flowed)
    found, done = received(b"".join(flowed) + end)
    assert done
    assert found == [
        *[bare(event, asked=asked) for event in events[:-1]],
        {**bare(events[-1], asked=asked), "idk": found[-1]["idk"]},
    ]
    assert [each["index"] for each in found[-1]["idk"]["choices"]] == list(range(len(texts)))
    assert [each.evidence.answer for each in completion.choices] == ["".join(tokens) for tokens in texts]
    assert [each.evidence.token_logprobs for each in completion.choices] == [
        [-0.25] * len(tokens) for tokens in texts
    ]


@given(streams(name=lambda index: f"WITHHELD{index}"), st.data(), st.booleans(), st.booleans())
def test_nothing_of_a_withheld_choice_goes_out(stream, data, asked, as_json):
    texts, events, pieces = stream
    withheld = data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1))
    asked_for = request(
        len(texts), logprobs=asked, response_format={"type": "json_object" if as_json else "text"}
    )
    flowed, end, _ = run(pieces, asked_for, withheld=withheld)
    assert not any(flowed)
    found, done = received(end)
    assert done
    assert [event for event in found if "idk" in event] == found[-1:]
    for index, tokens in enumerate(texts):
        parts = [each for event in found for each in event["choices"] if each["index"] == index]
        said = {
            field: "".join(each["delta"].get(field) or "" for each in parts)
            for field in ("content", "refusal")
        }
        assert [each["finish_reason"] for each in parts if each["finish_reason"]] != []
        if index in withheld:
            assert f"WITHHELD{index}".encode() not in end
            assert said == {"content": "", "refusal": TEXT} if as_json else {"content": TEXT, "refusal": ""}
            assert not any(each["logprobs"] for each in parts)
        else:
            assert said == {"content": "".join(tokens), "refusal": ""}
            assert any(each["logprobs"] for each in parts) is asked
    usage = [event["usage"] for event in found if "usage" in event]
    assert usage == [event["usage"] for event in events if "usage" in event]
    assert b"provider" not in end


def test_an_observed_stream_flows_as_it_comes():
    reader = CHAT.stream(request(), NOTHING, hold=False, watch=None)
    events = answer("Par", "is")
    for event in events[:-1]:
        assert received(reader.feed(sent([event], done=False))) == ([event], False)
    assert reader.feed(sent(events[-1:])) == b""
    completion = reader.completion()
    last, done = received(reader.finish(completion, verdict(completion)))
    assert done
    assert last == [{**events[-1], "idk": last[0]["idk"]}]


def test_a_stream_that_ends_without_a_last_chunk_gets_one():
    flowed, end, _ = run([sent(answer("Paris")[:-1])], request(), hold=False)
    assert len(received(flowed[0])[0]) == 2
    assert [list(event) for event in received(end)[0]] == [["object", "choices", "idk"]]


@pytest.mark.parametrize("events", [[], [{}]], ids=["none", "an empty one"])
def test_a_stream_of_no_choices_misses_its_answer_and_still_ends_in_order(events):
    flowed, end, completion = run([sent(events)], request())
    (found,) = completion.choices
    assert found.missing
    received_events, done = received(end)
    assert done
    assert len(received_events[-1]["idk"]["choices"]) == 1
    assert flowed == [b""]


def test_what_follows_the_end_is_not_read():
    _, end, completion = run([sent(answer("Paris")) + sent(answer("Lyon"))], request())
    assert completion.choices[0].evidence.answer == "Paris"
    assert b"Lyon" not in end


def test_usage_is_read():
    _, _, completion = run([sent([*answer("x"), chunk(usage=USAGE)])], request())
    assert (completion.prompt_tokens, completion.completion_tokens) == (3, 9)


@pytest.mark.parametrize("stream", [
    b"", sent([], done=False), sent(answer("Paris")[:-1], done=False), sent(answer("Paris"), done=False)[:-40],
    sent([*answer("a"), chunk(part(1, "b"))], done=False),
], ids=["nothing", "no event", "no finish", "inside an event", "one of two"])  # fmt: skip
@pytest.mark.parametrize("hold", [True, False])
def test_a_cut_stream_is_no_answer(stream, hold):
    reader = CHAT.stream(request(2), LOGPROBS, hold=hold, watch=None)
    reader.feed(stream)
    with pytest.raises(UpstreamCut):
        reader.completion()


def test_the_last_event_may_lack_its_blank_line():
    _, end, _ = run([sent(answer("Paris"), done=False).rstrip(b"\n")], request())
    assert received(end)[1]


@pytest.mark.parametrize(("error", "message", "code"), [
    ({"message": "too busy", "code": 429}, "too busy", "429"), ({"message": "no", "code": "bad"}, "no", "bad"),
    ({}, "the upstream failed in the middle of its answer", None), ({"message": 3}, "3", None),
    ("text", "text", None), ({"message": {"a": "b"}}, '{"a":"b"}', None),
    ([{"message": "in a list"}], "in a list", None),
])  # fmt: skip
def test_an_upstreams_error_in_a_stream_is_raised(error, message, code):
    reader = CHAT.stream(request(), LOGPROBS, hold=True, watch=None)
    with pytest.raises(UpstreamStatus, match=message) as raised:
        reader.feed(sent([{"error": error}]))
    assert raised.value.code == code


@pytest.mark.parametrize("payload", [
    "nonsense", '{"choices": [{"delta": {"content": "\\ud800"}}]}', '{"choices": [3], "x": "',
])  # fmt: skip
def test_an_event_that_cannot_be_read(payload):
    reader = CHAT.stream(request(), LOGPROBS, hold=True, watch=None)
    with pytest.raises(UpstreamGarbage):
        reader.feed(f"data: {payload}\n\n".encode())


@pytest.mark.parametrize("payload", [
    '{"choices": [{"delta": {"content": 3}}]}', '{"choices": [{"delta": "x"}]}', '{"choices": ["x"]}',
    '{"choices": [{"delta": {"content": [{"type": "image"}]}}]}', '{"choices": [{"delta": {"tool_calls": "x"}}]}',
])  # fmt: skip
def test_a_delta_whose_text_cannot_be_read_makes_the_choice_unreadable(payload):
    pieces = [f"data: {payload}\n\n".encode(), sent(answer("Paris"))]
    _, _, completion = run(pieces, request())
    assert completion.choices[0].unreadable is not None


@pytest.mark.parametrize("payload", [
    "[]", "3", "null", '""', '{"choices": null}', '{"choices": {}}', '{"choices": [{"index": "0"}]}', " ", "",
    '{"choices": [{"delta": null, "index": 0}]}', '{"usage": "x"}', '{"id": 3, "model": [], "created": "x"}',
])  # fmt: skip
def test_a_value_that_the_gate_does_not_need_may_be_anything(payload):
    pieces = [f"data: {payload}\n\n".encode(), sent(answer("Paris"))]
    _, _, completion = run(pieces, request())
    (found,) = completion.choices
    assert (found.evidence.answer, found.unreadable) == ("Paris", None)
    assert not isinstance(found.evidence.token_logprobs, Unmeasured)


def test_an_end_marker_may_have_spaces():
    _, end, _ = run([sent(answer("Paris"), done=False) + b"data: [DONE] \n\n"], request())
    assert received(end)[1]


def test_bytes_that_are_no_text_cannot_be_read():
    reader = CHAT.stream(request(), LOGPROBS, hold=True, watch=None)
    with pytest.raises(UpstreamGarbage):
        reader.feed(b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n')


def test_more_choices_than_were_asked_for_are_refused():
    reader = CHAT.stream(request(2), LOGPROBS, hold=True, watch=None)
    reader.feed(sent([chunk(part(0, "a"), part(7, "b"))], done=False))
    with pytest.raises(UpstreamGarbage, match="more choices"):
        reader.feed(sent([chunk(part(1, "c"))], done=False))


def test_alternatives_beyond_those_that_were_asked_for_are_taken_out():
    event = chunk(part(0, "Paris", finish="stop"))
    event["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = [
        {"token": str(k), "logprob": -k} for k in range(5)
    ]
    _, end, completion = run([sent([event])], request(logprobs=True, top_logprobs=2), ask=TOPS)
    tops = received(end)[0][0]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert tops == [{"token": "0", "logprob": 0}, {"token": "1", "logprob": -1}]
    assert completion.choices[0].evidence.top_logprobs == [[0, -1, -2, -3, -4]]


def test_tool_calls_and_refusals_are_seen():
    events = [
        chunk(part(0, tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}])),
        chunk(part(1, refusal="no")),
        chunk(part(0, finish="tool_calls"), part(1, finish="stop")),
    ]
    _, _, completion = run([sent(events)], request(2))
    assert [(each.tool_call, each.refusal) for each in completion.choices] == [(True, False), (False, True)]
    assert [each.finish_reason for each in completion.choices] == ["tool_calls", "stop"]


def test_malformed_logprobs_make_an_answer_unmeasured():
    event = chunk({**part(0, "Paris", finish="stop"), "logprobs": {"content": 7}})
    _, _, completion = run([sent([event])], request())
    assert isinstance(completion.choices[0].evidence.token_logprobs, Unmeasured)
    assert completion.choices[0].evidence.answer == "Paris"


# Settled: no further token can change that everything is withheld

LEAST = early_abstention(Gate(Uncalibrated(SCORERS["min_logprob"], -1.0)))
BAD = {"logprob": -5.0}


def settling(*events, n=1, make=LEAST, **fields):
    reader = CHAT.stream(request(n, **fields), LOGPROBS, hold=True, watch=make)
    reader.feed(sent(events, done=False))
    return reader


def test_a_stream_is_settled_when_its_choice_cannot_pass():
    reader = settling(chunk(part(0, "a", **BAD)))
    assert not reader.settled  # it may be the end-of-turn token
    reader.feed(sent([chunk(part(0, "b"))], done=False))
    assert reader.settled
    completion = reader.completion()
    assert completion.choices[0].evidence.answer == "ab"


def test_a_cancelled_stream_ends_in_an_abstention_without_a_count():
    reader = settling(chunk(part(0, "a", **BAD)), chunk(part(0, "b")), stream_options={"include_usage": True})
    completion = reader.completion()
    end = reader.finish(completion, verdict(completion, [0]), cancelled=True)
    found, done = received(end)
    assert done
    assert [each["delta"].get("content") for event in found for each in event["choices"]] == [TEXT, None]
    assert (found[-1]["choices"], found[-1]["usage"]) == ([], None)
    assert b'"a"' not in end


def test_without_a_watch_nothing_is_settled():
    assert not settling(chunk(part(0, "a", **BAD)), chunk(part(0, "b")), make=None).settled


def test_every_choice_must_have_come_and_be_settled():
    bad = [chunk(part(0, "a", **BAD)), chunk(part(0, "b"))]
    assert not settling(*bad, n=2).settled
    assert not settling(*bad, chunk(part(1, "a")), n=2).settled
    assert settling(*bad, chunk(part(1, "a", **BAD)), chunk(part(1, "b")), n=2).settled


@pytest.mark.parametrize("spoiler", [
    part(0, tool_calls=[{"index": 0}]), part(0, refusal="no"), {**part(0, "x"), "logprobs": {"content": 7}},
    {**part(0, "x"), "logprobs": None}, part(0, "x", logprob=None), {**part(0, "x"), "delta": {"content": "other"}},
], ids=["tool call", "refusal", "malformed", "no logprobs", "a null logprob", "other text"])  # fmt: skip
def test_what_makes_an_end_uncertain_settles_nothing(spoiler):
    assert not settling(chunk(spoiler), chunk(part(0, "a", **BAD)), chunk(part(0, "b"))).settled


def test_events_without_text_or_tokens_do_not_disturb_a_watch():
    role, end = part(0, "", role="assistant"), part(0, "")
    end["logprobs"] = {"content": [{"token": "", "logprob": -0.1}]}
    assert settling(
        chunk(role), chunk(part(0, "a", **BAD)), chunk(part(0, "b")), chunk(end), chunk(role)
    ).settled
