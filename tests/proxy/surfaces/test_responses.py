"""Responses: what is read of a request, of an answer and of a stream, and what the client gets."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from gating import SCORERS
from gating.types import Unmeasured
from proxy.exceptions import BadRequest, UpstreamCut, UpstreamGarbage, UpstreamStatus, UpstreamTooLarge
from proxy.server.json_budget import EVENT_STRINGS
from proxy.surfaces import SURFACES
from proxy.surfaces.responses.surface import Responses
from proxy.surfaces.responses.wire import INCLUDE
from tests.fake_formats import FORMATS
from tests.fakes import calls_tool, says
from tests.proxy.surfaces.verdicts import LOGPROBS, NOTHING, TEXT, TOPS, verdict

SURFACE = Responses()
FORMAT = FORMATS["/v1/responses"]
ASKED = {"model": "m", "include": [INCLUDE]}


def parse(**fields):
    return SURFACE.parse(json.dumps({"model": "m", "input": "?", **fields}).encode())


def read(given, ask=LOGPROBS):
    return SURFACE.read(json.dumps(given).encode(), ask)


def render(given, request, ask=LOGPROBS, withheld=()):
    completion = read(given, ask)
    return json.loads(SURFACE.render(request, ask, completion, verdict(completion, withheld)))


def sse(events):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for _, event in events)


def payloads(data):
    lines = data.decode().splitlines()
    found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [line.removeprefix("event: ") for line in lines if line.startswith("event: ")] == [
        e["type"] for e in found
    ]
    return found


class Settles:
    """A watch that is settled after so many tokens."""

    def __init__(self, after):
        self.left = after

    def add(self, logprobs):
        self.left -= len(logprobs)

    @property
    def settled(self):
        return self.left <= 0


def test_it_is_in_the_table():
    assert isinstance(SURFACES["responses"], Responses)


def test_every_field_that_gating_reads():
    request = parse(
        stream=True, include=["x", INCLUDE], top_logprobs=3, temperature=0, top_p=0.5, max_output_tokens=9,
        text={"format": {"type": "json_schema"}}, tools=[{"type": "function"}], idk={"threshold": 0.9},
    )  # fmt: skip
    assert (request.stream, request.n, request.logprobs, request.top_logprobs) == (True, 1, True, 3)
    assert (request.sampling, request.max_tokens, request.threshold) == (
        {"temperature": 0, "top_p": 0.5},
        9,
        0.9,
    )
    assert (request.json_answer, request.tools) == (True, True)
    assert not parse(tools=[]).tools


@pytest.mark.parametrize(
    "fields", [{"model": 1}, {"input": 3}, {"include": "x"}, {"previous_response_id": "resp_idk_0"}]
)
def test_what_is_refused(fields):
    with pytest.raises(BadRequest):
        parse(**fields)


def test_what_the_upstream_is_asked():
    body = json.loads(SURFACE.outgoing(parse(include=["x"], idk={}, store=False), TOPS))
    assert body == {"model": "m", "input": "?", "include": ["x", INCLUDE], "top_logprobs": 5, "store": False,
                    "stream": False}  # fmt: skip
    assert "include" not in json.loads(SURFACE.outgoing(parse(), NOTHING))
    assert json.loads(SURFACE.outgoing(parse(include=[INCLUDE]), LOGPROBS))["include"] == [INCLUDE]


def test_texts_are_edited_where_they_stand():
    seen = []

    def edit(role, name, text):
        seen.append((role, text))
        return text.replace("CONTEXT", "") if text != "CONTEXT" else None

    assert SURFACE.edited(parse(input="CONTEXT?"), edit).fields["input"] == Raw(b'"?"')
    items = [
        {"role": "developer", "content": "CONTEXT"},
        {"role": "user", "content": [{"type": "input_text", "text": "CONTEXT q"}]},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
    ]
    changed = SURFACE.edited(parse(input=items, instructions="CONTEXT"), edit)
    assert json.loads(bytes(changed.fields["input"])) == [
        {"role": "user", "content": [{"type": "input_text", "text": " q"}]}, items[2],
    ]  # fmt: skip
    assert changed.fields["instructions"] == Raw(b"null")
    assert ("system", "CONTEXT") in seen
    with pytest.raises(BadRequest):
        SURFACE.edited(parse(input="CONTEXT"), edit)


def test_an_answer_is_its_messages_together():
    completion = read(FORMAT.whole(ASKED, [says("Par", "is", logprob=-0.5)]))
    (choice,) = completion.choices
    assert choice.evidence.answer == "Paris"
    assert list(choice.evidence.token_logprobs) == [-0.5, -0.5]
    assert (completion.prompt_tokens, completion.completion_tokens, completion.id) == (7, 2, "resp_fake")
    assert choice.finish_reason == "stop"


def test_what_is_no_words():
    call = read(FORMAT.whole(ASKED, [calls_tool("f", "{}")])).choices[0]
    assert (call.tool_call, call.refusal) == (True, False)
    refusal = read(FORMAT.whole(ASKED, [says(message={"refusal": "no"})])).choices[0]
    assert (refusal.tool_call, refusal.refusal) == (False, True)
    cut = read(FORMAT.whole(ASKED, [says("Par", finish_reason="length")])).choices[0]
    assert cut.finish_reason == "length"


@pytest.mark.parametrize("kind", ["reasoning", "web_search_call"])
def test_thoughts_and_what_a_server_did_are_no_call_and_no_words(kind):
    given = FORMAT.whole(ASKED, [says("Paris")])
    given["output"].insert(
        0, {"type": kind, "id": "x", "content": [{"type": "reasoning_text", "text": "Lyon"}]}
    )
    (choice,) = read(given).choices
    assert (choice.evidence.answer, choice.tool_call) == ("Paris", False)


@pytest.mark.parametrize("logprobs", [None, [], "x", [{"token": 3}], [{"token": "Lyon", "logprob": -0.1}]])
def test_logprobs_that_cannot_be_used_are_unmeasured(logprobs):
    given = FORMAT.whole(ASKED, [says("Paris")])
    given["output"][0]["content"][0]["logprobs"] = logprobs
    (choice,) = read(given).choices
    assert isinstance(SCORERS["mean_logprob"].score(choice.evidence), Unmeasured)


@pytest.mark.parametrize("body", [b"", b"[", b"<html>"])
def test_garbage_is_told(body):
    with pytest.raises(UpstreamGarbage):
        SURFACE.read(body, LOGPROBS)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"output": 3}', b'{"output": []}', b'{"output": NaN}', b"3"]
)
def test_a_response_without_items_misses_its_answer(body):
    assert SURFACE.read(body, LOGPROBS).choices[0].missing


@pytest.mark.parametrize("item", [
    3, {"type": "future", "text": "SECRET"}, {"type": "message", "content": [{"type": "audio", "data": "SECRET"}]},
    {"type": "message", "content": {"text": "SECRET"}},
    {"type": "message", "content": [{"type": "output_text", "text": 3}]},
])  # fmt: skip
def test_an_item_whose_text_cannot_be_read_makes_the_answer_unreadable(item):
    found = read({"output": [item]}).choices[0]
    assert found.unreadable is not None
    assert not found.tool_call


@pytest.mark.parametrize("kind", ["web_search_call", "future_call", "mcp_call", "function_call_output"])
def test_only_calls_that_the_client_answers_are_calls(kind):
    given = FORMAT.whole(ASKED, [says("Paris")])
    given["output"].append({"type": kind, "id": "x", "result": "SECRET"})
    found = read(given).choices[0]
    assert not found.tool_call
    assert found.evidence.answer == "Paris"


def test_numbers_that_are_no_json_are_mended():
    body = json.dumps(FORMAT.whole(ASKED, [says("Paris", logprob=-0.5)])).replace("-0.5", "-Infinity")
    assert SURFACE.read(body.encode(), LOGPROBS).choices[0].evidence.token_logprobs == [-9999.0]


@pytest.mark.parametrize("error", [None, {"message": "overloaded", "code": "server_error"}])
def test_a_failed_response_is_an_error(error):
    with pytest.raises(UpstreamStatus, match="overloaded" if error else "failed"):
        read({"output": [], "status": "failed", "error": error})


def test_the_logprobs_are_those_that_the_client_asked_for():
    tops = [{"token": f"t{k}", "logprob": -k, "bytes": []} for k in range(5)]
    given = FORMAT.whole(ASKED, [says("Paris")])
    given["output"][0]["content"][0]["logprobs"][0]["top_logprobs"] = tops
    given["metadata"] = {"logprobs": "mine"}

    def seen(request):
        got = render(given, request, TOPS)
        assert got["metadata"] == {"logprobs": "mine"}
        return got["output"][0]["content"][0]["logprobs"]

    assert seen(parse()) == []
    assert seen(parse(include=[INCLUDE], top_logprobs=2))[0]["top_logprobs"] == tops[:2]
    assert seen(parse(include=[INCLUDE], top_logprobs=5))[0]["top_logprobs"] == tops


@pytest.mark.parametrize("as_json", [False, True])
def test_a_withheld_answer_is_another_object(as_json):
    given = FORMAT.whole(ASKED, [says("Lyon")])
    given["output_text"] = given["__verbose"] = "Lyon"
    text = {"format": {"type": "json_object"}} if as_json else None
    got = render(given, parse(text=text), withheld={0})
    assert "Lyon" not in json.dumps(got)
    (part,) = got["output"][0]["content"]
    assert part.get("refusal" if as_json else "text") == TEXT
    assert got["id"].startswith("resp_idk_")
    assert (got["status"], got["usage"]["output_tokens"]) == ("completed", 1)


# Streams


def test_a_held_stream_goes_out_as_it_was():
    reader = SURFACE.stream(parse(stream=True, include=[INCLUDE]), LOGPROBS, hold=True, watch=None)
    events = FORMAT.events(ASKED, [says("Par", "is")])
    assert reader.feed(sse(events)) == b""
    completion = reader.completion()
    got = payloads(reader.finish(completion, verdict(completion)))
    assert got[-1]["response"].pop("idk")["choices"][0]["decision"] == "answer"
    assert got == [event for _, event in events]


def test_an_event_may_have_so_many_strings_and_no_more():
    for count, most in ((EVENT_STRINGS - 10, True), (EVENT_STRINGS + 1, False)):
        reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
        event = {"type": "response.in_progress", "more": {str(number): 1 for number in range(count)}}
        if most:
            assert reader.feed(sse([(None, event)])) == b""
        else:
            with pytest.raises(UpstreamTooLarge, match=f"an event with over {EVENT_STRINGS} strings"):
                reader.feed(sse([(None, event)]))


def test_a_withheld_stream_is_numbered_anew():
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
    reader.feed(sse(FORMAT.events(ASKED, [says("Ly", "on")])))
    completion = reader.completion()
    end = reader.finish(completion, verdict(completion, {0}))
    assert b"Ly" not in end
    assert b"resp_fake" not in end
    assert [event["sequence_number"] for event in payloads(end)] == list(range(9))


def test_a_settled_stream_can_be_left():
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=lambda: Settles(2))
    events = FORMAT.events(ASKED, [says("Ly", "on", "!")])
    fed = 0
    while not reader.settled:
        reader.feed(sse([events[fed]]))
        fed += 1
    assert fed < len(events) - 4
    completion = reader.completion()
    got = payloads(reader.finish(completion, verdict(completion, {0}), cancelled=True))
    assert "usage" not in got[-1]["response"]
    assert (completion.choices[0].evidence.answer, completion.completion_tokens) == ("Lyon", None)


@pytest.mark.parametrize(
    "said", [calls_tool("f", "{}"), says(message={"refusal": "no"}), says("x", logprobs='"x"')]
)
def test_nothing_is_settled_where_it_may_be_no_answer(said):
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=lambda: Settles(0))
    for name, event in FORMAT.events(ASKED, [said])[2:]:
        reader.feed(sse([(name, event)]))
    assert not reader.settled


def test_an_observed_stream_flows_but_for_its_end():
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=False, watch=None)
    events = FORMAT.events(ASKED, [says("Par", "is")])
    flowing = payloads(reader.feed(sse(events)))
    assert [event["type"] for event in flowing] == [event["type"] for _, event in events[:-1]]
    assert not any(event.get("logprobs") for event in flowing)
    completion = reader.completion()
    (last,) = payloads(reader.finish(completion, verdict(completion)))
    assert last["response"]["idk"]["mode"] == "enforce"


@pytest.mark.parametrize("cut", [1, 5, -1])
def test_a_stream_that_ends_early_is_cut(cut):
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
    reader.feed(sse(FORMAT.events(ASKED, [says("Par", "is")])[:cut]))
    with pytest.raises(UpstreamCut):
        reader.completion()


def test_a_stream_that_ends_inside_an_event_is_cut():
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
    reader.feed(b'data: {"type": "response.comp')
    with pytest.raises(UpstreamCut):
        reader.completion()


@pytest.mark.parametrize("event", [
    {"type": "error", "message": "overloaded", "code": "x"}, {"type": "error", "error": {"message": "overloaded"}},
    {"type": "response.failed", "response": {"error": {"message": "overloaded"}}},
])  # fmt: skip
def test_an_error_in_the_stream_is_told(event):
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
    with pytest.raises(UpstreamStatus, match="overloaded"):
        reader.feed(sse([(None, event)]))


@pytest.mark.parametrize("data", [
    b"data: {\n\n", b"data: [\n\n",
])  # fmt: skip
def test_a_broken_event_is_garbage(data):
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
    with pytest.raises(UpstreamGarbage):
        reader.feed(data)


def test_an_error_without_words_is_still_one():
    reader = SURFACE.stream(parse(stream=True), LOGPROBS, hold=True, watch=None)
    with pytest.raises(UpstreamStatus, match="middle of its answer"):
        reader.feed(sse([(None, {"type": "response.failed", "response": {"error": 3}})]))
