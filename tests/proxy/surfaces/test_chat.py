"""Chat completions: what is read of a request, what the upstream is asked, what the client gets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.types import Unmeasured
from proxy.exceptions import BadRequest, NotFound, UpstreamGarbage
from proxy.surfaces import SURFACES
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.contract import Ask
from tests.proxy.surfaces.verdicts import LOGPROBS, NOTHING, TEXT, TOPS, verdict

CHAT = Chat()
MINIMAL = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=5,
)


def parse(**fields):
    return CHAT.parse(json.dumps({**MINIMAL, **fields}).encode())


def token(text, logprob=-0.25, tops=2, **fields):
    alternatives = [{"token": f"{text}{k}", "logprob": logprob - k, "bytes": None} for k in range(tops)]
    return {"token": text, "logprob": logprob, "bytes": None, "top_logprobs": alternatives, **fields}


def choice(index, *texts, **fields):
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(texts), "refusal": None},
        "logprobs": {"content": [token(text) for text in texts], "refusal": None},
        "finish_reason": "stop",
        **fields,
    }


def answer(*choices, **fields):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [*choices],
        "usage": usage, **fields,
    }  # fmt: skip


def read(given, ask=LOGPROBS):
    return CHAT.read(json.dumps(given).encode(), ask)


def render(given, request, ask=LOGPROBS, withheld=()):
    completion = read(given, ask)
    return CHAT.render(request, ask, completion, verdict(completion, withheld))


# Requests


def test_it_is_in_the_table():
    assert isinstance(SURFACES["chat"], Chat)
    assert SURFACES["chat"].path == "/chat/completions"


def test_a_minimal_request():
    request = parse()
    assert (request.model, request.stream, request.n) == ("m", False, 1)
    assert (request.logprobs, request.top_logprobs, request.json_answer) == (False, 0, False)
    assert (request.include_usage, request.tools, request.max_tokens) == (False, False, None)
    assert (request.sampling, request.threshold) == ({}, None)


def test_every_field_that_gating_reads():
    request = parse(
        stream=True, n=3, logprobs=True, top_logprobs=4, temperature=0, top_p=0.5, presence_penalty=1,
        frequency_penalty=-1, max_tokens=9, response_format={"type": "json_schema", "json_schema": {}},
        stream_options={"include_usage": True}, tools=[], idk={"threshold": 0.9},
    )  # fmt: skip
    assert (request.stream, request.n, request.logprobs, request.top_logprobs) == (True, 3, True, 4)
    assert request.sampling == {
        "temperature": 0, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": -1
    }  # fmt: skip
    assert (request.json_answer, request.include_usage, request.tools) == (True, True, True)
    assert (request.max_tokens, request.threshold) == (9, 0.9)


@pytest.mark.parametrize(("fields", "most"), [
    ({"max_tokens": 5}, 5), ({"max_completion_tokens": 5}, 5), ({"max_tokens": 7, "max_completion_tokens": 5}, 7),
    ({"max_tokens": 0}, None), ({"max_tokens": None}, None),
])  # fmt: skip
def test_the_greater_limit_bounds_an_answer(fields, most):
    assert parse(**fields).max_tokens == most


@pytest.mark.parametrize(("kind", "is_json"), [
    ("json_object", True), ("json_schema", True), ("text", False), ("grammar", False)
])  # fmt: skip
def test_which_formats_are_json(kind, is_json):
    assert parse(response_format={"type": kind}).json_answer is is_json


@pytest.mark.parametrize("cost", [0, 1, 3, 9.0])
def test_the_cost_of_a_wrong_answer_is_a_threshold(cost):
    assert parse(idk={"wrong_cost": cost}).threshold == cost / (1 + cost)


@pytest.mark.parametrize("fields", [
    {"stream": None, "n": None, "logprobs": None, "top_logprobs": None, "temperature": None, "idk": None,
     "response_format": None, "stream_options": None},
    {"idk": {}}, {"stream_options": {}}, {"stream_options": {"include_usage": None}},
])  # fmt: skip
def test_null_means_absent(fields):
    assert parse(**fields).threshold is None
    assert parse(**fields).n == 1


@pytest.mark.parametrize(("fields", "param"), [
    ({"model": 1}, "model"), ({"messages": "hello"}, "messages"), ({"messages": []}, "messages"),
    ({"stream": "yes"}, "stream"), ({"n": 0}, "n"), ({"n": 129}, "n"), ({"n": 1.5}, "n"),
    ({"logprobs": 3}, "logprobs"), ({"top_logprobs": 21}, "top_logprobs"), ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": -1}, "max_tokens"), ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": 1}}, "response_format.type"), ({"stream_options": []}, "stream_options"),
    ({"idk": {"threshold": 1.5}}, "idk.threshold"), ({"idk": {"wrong_cost": -1}}, "idk.wrong_cost"),
    ({"idk": {"treshold": 0.5}}, "idk"), ({"idk": 0.5}, "idk"),
    ({"idk": {"threshold": 0.5, "wrong_cost": 1}}, "idk"),
])  # fmt: skip
def test_a_wrong_value_is_named(fields, param):
    with pytest.raises(BadRequest) as raised:
        parse(**fields)
    assert raised.value.param == param
    assert raised.value.http_status == 400
    assert raised.value.message.startswith(param)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(missing):
    body = json.dumps({name: value for name, value in MINIMAL.items() if name != missing}).encode()
    with pytest.raises(BadRequest, match=f"missing required field `{missing}`"):
        CHAT.parse(body)


@pytest.mark.parametrize("body", [
    b"", b"{", b"nonsense", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"model": "\xff", "messages": [1]}',
    b'{"model": "m", "messages": ' + b"[" * 100_000,
])  # fmt: skip
def test_what_is_no_request(body):
    with pytest.raises(BadRequest):
        CHAT.parse(body)


# What the upstream is asked


@given(st.dictionaries(WORDS.map("x{}".format), JSON, max_size=4))
def test_what_gating_does_not_read_reaches_the_upstream_byte_for_byte(extra):
    fields = {**extra, **MINIMAL}
    body = json.dumps(fields, ensure_ascii=False, separators=(" , ", " : ")).encode()
    request = CHAT.parse(body)
    sent = CHAT.outgoing(request, NOTHING)
    assert json.loads(sent) == fields
    for value in extra.values():
        assert json.dumps(value, ensure_ascii=False, separators=(" , ", " : ")).encode() in sent


def test_the_gate_asks_for_logprobs():
    assert json.loads(CHAT.outgoing(parse(), LOGPROBS)) == {**MINIMAL, "logprobs": True}


@pytest.mark.parametrize(("client", "most"), [(None, 5), (2, 5), (5, 5), (9, 9)])
def test_the_greater_number_of_alternatives_is_asked_for(client, most):
    fields = {} if client is None else {"logprobs": True, "top_logprobs": client}
    sent = json.loads(CHAT.outgoing(parse(**fields), TOPS))
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, most)


def test_the_routes_model_and_parameters_stand_over_the_clients_and_idk_stays_here():
    request = parse(temperature=1.0, idk={"threshold": 0.5}, seed=3)
    ask = Ask("other", {"temperature": 0, "top_p": 0.5}, logprobs=False, top_logprobs=0)
    assert json.loads(CHAT.outgoing(request, ask)) == {
        **MINIMAL, "model": "other", "temperature": 0, "top_p": 0.5, "seed": 3
    }  # fmt: skip


# What the upstream answered


def test_an_answer_is_read():
    completion = read(answer(choice(0, "Par", "is"), choice(1, "Lyon", finish_reason="length")))
    assert [found.evidence.answer for found in completion.choices] == ["Paris", "Lyon"]
    assert [found.evidence.token_logprobs for found in completion.choices] == [[-0.25, -0.25], [-0.25]]
    assert [found.finish_reason for found in completion.choices] == ["stop", "length"]
    assert (completion.prompt_tokens, completion.completion_tokens) == (3, 4)
    assert completion.choices[0].evidence.top_logprobs is None


def test_alternatives_are_read_where_a_scorer_wants_them():
    found = read(answer(choice(0, "Paris")), TOPS).choices[0]
    assert found.evidence.top_logprobs == [[-0.25, -1.25]]


@pytest.mark.parametrize(("message", "tool_call", "refusal"), [
    ({"content": None, "tool_calls": [{"id": "1"}]}, True, False),
    ({"content": None, "function_call": {"name": "f"}}, True, False),
    ({"content": "x", "refusal": "no"}, False, False), ({"content": "x", "function_call": {}}, False, False),
    ({"content": "x", "tool_calls": []}, False, False), ({"content": "x", "tool_calls": None}, False, False),
    ({"content": None, "refusal": "no"}, False, True), ({"content": "x", "refusal": ""}, False, False),
    ({}, False, False),
])  # fmt: skip
def test_tool_calls_and_refusals(message, tool_call, refusal):
    found = read(answer(choice(0, message=message))).choices[0]
    assert (found.tool_call, found.refusal) == (tool_call, refusal)


def test_an_answer_without_usage():
    completion = read(answer(choice(0, "x"), usage=None))
    assert (completion.prompt_tokens, completion.completion_tokens) == (None, None)


@pytest.mark.parametrize("ask", [LOGPROBS, TOPS])
@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": "text"}, [1, 2], 7, "text", {"content": [{"token": 1, "logprob": -0.1}]},
        {"content": [{"token": "Paris", "logprob": "low"}]},
        {"content": [{"token": "Lyon", "logprob": -0.1}]},
        {"content": [{"token": "Paris", "logprob": None}]},
        {"content": [{"token": "Paris", "logprob": 0.5}]},
    ],
)  # fmt: skip
def test_logprobs_that_cannot_be_used_are_unmeasured_and_no_error(ask, logprobs):
    found = read(answer(choice(0, "Paris", logprobs=logprobs)), ask).choices[0]
    assert isinstance(found.evidence.token_logprobs, Unmeasured)


@pytest.mark.parametrize("ask", [LOGPROBS, TOPS])
@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}])
def test_an_answer_may_come_without_logprobs(ask, logprobs):
    found = read(answer({**choice(0, "Paris"), "logprobs": logprobs}), ask).choices[0]
    assert found.evidence.token_logprobs is None


def test_a_character_that_spans_tokens_is_matched_by_the_tokens_bytes():
    halves = [token("\ufffd", bytes=[0xC3]), token("\ufffd", bytes=[0xA9])]
    given = answer(choice(0, message={"content": "é"}, logprobs={"content": halves}))
    assert read(given).choices[0].evidence.token_logprobs == [-0.25, -0.25]


def test_infinity_is_read_as_the_sentinel():
    body = json.dumps(
        answer(choice(0, logprobs={"content": [token("x", -float("inf"), 0)]}, message={"content": "x"}))
    )
    assert "-Infinity" in body
    completion = CHAT.read(body.encode(), LOGPROBS)
    assert completion.choices[0].evidence.token_logprobs[0] <= -80
    assert json.loads(completion.body)["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0


@pytest.mark.parametrize("body", [
    b"", b"{", b"<html></html>",
    b'{"choices": [{"message": {"content": "\xff"}}]}', b'{"choices": [{"message": {"tool_calls": "\xff"}}]}',
    b'{"choices": [], "more": "\xff"}', b'{"choices": "' + b"x" * 99, b'{"choices": [1], "more": "x',
    b'{"choices": ' + b"[" * 100_000,
])  # fmt: skip
def test_a_body_that_is_not_json_is_garbage(body):
    with pytest.raises(UpstreamGarbage):
        CHAT.read(body, LOGPROBS)


@pytest.mark.parametrize("body", [
    b"[]", b"null", b"{}", b"3", b'{"choices": null}', b'{"choices": []}', b'{"choices": NaN}', b'{"choices": {}}',
    b'{"content": "SECRET", "stop": true}',
])  # fmt: skip
def test_an_answer_without_choices_is_missing(body):
    (found,) = CHAT.read(body, LOGPROBS).choices
    assert found.missing
    assert found.unreadable is not None


@pytest.mark.parametrize("body", [
    b'{"choices": [1]}', b'{"choices": [{"index": 0}]}', b'{"choices": [{"message": {"content": [1]}}]}',
    b'{"choices": [{"message": {"content": {"text": "x"}}}]}', b'{"choices": [{"message": {"tool_calls": "x"}}]}',
    b'{"choices": [{"message": {"content": "x", "tool_calls": [1]}}]}',
    b'{"choices": [{"message": {"refusal": {"text": "x"}}}]}',
    b'{"choices": [{"message": {"content": "", "output": "x"}}]}', b'{"choices": [{"message": {}, "text": "x"}]}',
    b'{"choices": [{"message": {"content": "<think>x"}}]}',
])  # fmt: skip
def test_a_choice_whose_text_cannot_be_read_says_so(body):
    (found,) = CHAT.read(body, LOGPROBS).choices
    assert found.unreadable is not None
    assert (found.missing, found.tool_call, found.refusal) == (False, False, False)


# What the client gets


@given(
    st.lists(WORDS.map(lambda text: text + "x"), min_size=1, max_size=3),
    st.dictionaries(WORDS, JSON, max_size=3),
    st.booleans(),
)
def test_a_served_answer_is_the_upstreams_but_for_idk_and_logprobs(texts, extra, asked):
    names = {"choices", "usage", "idk", "logprobs"}
    extra = {name: value for name, value in extra.items() if name not in names}
    given = {**extra, **answer(*[choice(index, text, more=extra) for index, text in enumerate(texts)])}
    body = json.loads(render(given, parse(logprobs=asked, top_logprobs=2 if asked else None)))
    assert [found["index"] for found in body.pop("idk")["choices"]] == list(range(len(texts)))
    if not asked:
        for each in given["choices"]:
            each["logprobs"] = None
    assert body == given


def test_the_bytes_of_a_served_answer_are_not_rebuilt():
    given = json.dumps(answer(choice(0, "Paris", logprobs=None)), indent=3).encode()
    completion = CHAT.read(given, NOTHING)
    body = CHAT.render(parse(), NOTHING, completion, verdict(completion))
    assert body.startswith(given[:-1])


@given(
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.dictionaries(WORDS, JSON, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_nothing_of_a_withheld_answer_goes_out(kept, extra, asked, as_json):
    extra = {name: value for name, value in extra.items() if name not in ("usage", "choices", "logprobs")}
    choices = [
        choice(
            index, f"SERVED{index}" if keep else f"WITHHELD{index}", "!",
            provider={"text": "SERVED" if keep else "WITHHELD"},
        )
        for index, keep in enumerate(kept)
    ]  # fmt: skip
    given = {**extra, **answer(*reversed(choices), __verbose={"content": "WITHHELD"})}
    withheld = [index for index, keep in enumerate(kept) if not keep]
    request = parse(
        n=len(kept), logprobs=asked, response_format={"type": "json_object" if as_json else "text"}
    )
    body = render(given, request, withheld=withheld)
    found = json.loads(body)
    assert [each["index"] for each in found["choices"]] == list(range(len(kept)))[::-1]
    for each in found["choices"]:
        message = each["message"]
        if kept[each["index"]]:
            assert message["content"] == f"SERVED{each['index']}!"
            assert (each["logprobs"] is not None) is asked
        else:
            assert (message["content"], message["refusal"]) == ((None, TEXT) if as_json else (TEXT, None))
            assert (each["finish_reason"], each["logprobs"]) == ("stop", None)
    if withheld:
        assert b"WITHHELD" not in body
        assert found["usage"] == given["usage"]
    assert found["idk"]["route"] == "r"


def test_the_report_says_what_was_decided():
    body = json.loads(render(answer(choice(0, "x")), parse(), withheld=[0]))
    assert body["idk"] == {
        "route": "r", "mode": "enforce", "policy": "p", "certified": False,
        "choices": [{"index": 0, "decision": "abstain", "reason": "below_threshold", "confidence": 0.25,
                     "threshold": 0.5, "score": -1.5, "source": "logprobs"}],
        "extra": {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0},
    }  # fmt: skip


@pytest.mark.parametrize("asked", [0, 1, 2, 5])
def test_a_client_gets_as_many_alternatives_as_it_asked_for(asked):
    given = answer(choice(0, "Par", "is"))
    body = json.loads(render(given, parse(logprobs=True, top_logprobs=asked), TOPS))
    for tokens, original in zip(
        body["choices"][0]["logprobs"]["content"], given["choices"][0]["logprobs"]["content"], strict=True
    ):
        assert tokens == {**original, "top_logprobs": original["top_logprobs"][:asked]}


@pytest.mark.parametrize("logprobs", [[1], 3, {"content": 3}, {"content": [{"top_logprobs": 3}]}])
def test_malformed_logprobs_go_out_as_they_came_where_they_were_asked_for(logprobs):
    given = answer(choice(0, "x", logprobs=logprobs))
    assert json.loads(render(given, parse(logprobs=True), TOPS))["choices"][0]["logprobs"] == logprobs


def test_alternatives_may_be_null():
    given = answer(choice(0, "x", logprobs={"content": [{**token("x"), "top_logprobs": None}]}))
    found = json.loads(render(given, parse(logprobs=True), TOPS))
    assert found["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_errors_have_the_vendors_shape():
    error = NotFound("no such model", param="model", code="model_not_found")
    shape = {
        "message": "no such model", "type": "invalid_request_error", "param": "model", "code": "model_not_found"
    }  # fmt: skip
    assert json.loads(CHAT.error(error)) == {"error": shape}
    event = CHAT.error_event(error)
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert json.loads(event[6:]) == {"error": shape}


def test_no_more_alternatives_are_scored_than_were_tuned_on():
    """The client may ask for more than the gate reads: its scores must not change for that."""
    tokens = [{"token": "Paris", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1 - k} for k in range(8)]}]
    body = json.dumps(
        {"choices": [{"index": 0, "message": {"content": "Paris"}, "logprobs": {"content": tokens}}]}
    ).encode()
    ask = Ask(model=None, params={}, logprobs=True, top_logprobs=8, alternatives=5)
    (choice,) = Chat().read(body, ask).choices
    assert [len(place) for place in choice.evidence.top_logprobs] == [5]
