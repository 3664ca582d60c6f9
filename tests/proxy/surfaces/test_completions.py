"""The older completions: several prompts, logprobs in lists or in the chat's form, abstentions as text."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from gating.types import Unmeasured
from proxy.exceptions import BadRequest, UpstreamGarbage
from proxy.surfaces import SURFACES
from proxy.surfaces.completions.surface import Completions
from tests.proxy.surfaces.verdicts import LOGPROBS, NOTHING, TEXT, TOPS, verdict

SURFACE = Completions()


def parse(**fields):
    return SURFACE.parse(json.dumps({"model": "m", "prompt": "?", **fields}).encode())


def lists(*tokens, logprob=-0.25, tops=None):
    return {
        "tokens": list(tokens),
        "token_logprobs": [logprob] * len(tokens),
        "top_logprobs": tops and [tops] * len(tokens),
        "text_offset": list(range(len(tokens))),
    }


def choice(index, *tokens, **fields):
    return {
        "index": index,
        "text": "".join(tokens),
        "logprobs": lists(*tokens),
        "finish_reason": "stop",
        **fields,
    }


def answer(*choices, **fields):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {
        "id": "c1", "object": "text_completion", "created": 1, "model": "m", "choices": [*choices], "usage": usage,
        **fields,
    }  # fmt: skip


def read(given, ask=LOGPROBS):
    return SURFACE.read(json.dumps(given).encode(), ask)


def render(given, request, ask=LOGPROBS, withheld=()):
    completion = read(given, ask)
    return json.loads(SURFACE.render(request, ask, completion, verdict(completion, withheld)))


def streamed(request, *events, ask=LOGPROBS, hold=True, withheld=()):
    """Return what is sent while the stream arrives, and at the end."""
    reader = SURFACE.stream(request, ask, hold=hold, watch=None)
    sent = (
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    )
    flowing = reader.feed(sent)
    completion = reader.completion()
    return flowing, reader.finish(completion, verdict(completion, withheld))


def payloads(data):
    found = [line.removeprefix("data: ") for line in data.decode().splitlines() if line]
    return [json.loads(payload) for payload in found if payload != "[DONE]"]


def test_it_is_in_the_table():
    assert isinstance(SURFACES["completions"], Completions)
    assert SURFACE.path == "/completions"


# Requests


def test_every_field_that_gating_reads():
    request = parse(
        prompt=["a", "b"], stream=True, n=3, logprobs=2, temperature=0, max_tokens=9,
        stream_options={"include_usage": True}, response_format={"type": "json_object"}, idk={"wrong_cost": 3},
    )  # fmt: skip
    assert (request.stream, request.n, request.logprobs, request.top_logprobs) == (True, 6, True, 2)
    assert (request.sampling, request.max_tokens, request.threshold) == ({"temperature": 0}, 9, 0.75)
    assert (request.json_answer, request.include_usage, request.tools) == (True, True, False)
    assert request.ungateable is None


@pytest.mark.parametrize(
    ("prompt", "choices"), [("x", 2), (["x", "y", "z"], 6), ([1, 2, 3], 2), ([[1], [2, 3]], 4), ([], 2)]
)
def test_each_prompt_has_its_choices(prompt, choices):
    assert parse(prompt=prompt, n=2).n == choices


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"model": 3}, "model"), ({"prompt": 3}, "prompt"), ({"n": 0}, "n"), ({"logprobs": True}, "logprobs")],
)
def test_what_is_refused(fields, param):
    with pytest.raises(BadRequest) as refused:
        parse(**fields)
    assert refused.value.param == param


def test_an_echo_cannot_be_gated():
    assert parse(echo=True).ungateable.startswith("echo: ")


@pytest.mark.parametrize(
    ("asked", "ask", "sent"),
    [
        ({}, LOGPROBS, 1),
        ({}, TOPS, 5),
        ({"logprobs": 0}, LOGPROBS, 1),
        ({"logprobs": 7}, TOPS, 7),
        ({"logprobs": 2}, NOTHING, 2),
    ],
)
def test_the_logprobs_that_are_asked_for(asked, ask, sent):
    body = json.loads(SURFACE.outgoing(parse(**asked, idk={}, user="u"), ask))
    assert body == {"model": "m", "prompt": "?", "logprobs": sent, "user": "u"}


def test_nothing_is_asked_for_where_nothing_is_read():
    assert "logprobs" not in json.loads(SURFACE.outgoing(parse(), NOTHING))


def test_a_prompt_is_edited_as_a_users_message():
    def edit(role, name, text):
        assert (role, name) == ("user", None)
        return text.replace("context", "")

    assert SURFACE.edited(parse(prompt="context?"), edit).fields["prompt"] == Raw(b'"?"')
    assert SURFACE.edited(parse(prompt=["context", "x"]), edit).fields["prompt"] == Raw(b'["","x"]')
    unchanged = parse(prompt="nothing")
    assert SURFACE.edited(unchanged, edit) is unchanged
    tokens = parse(prompt=[1, 2])
    assert SURFACE.edited(tokens, edit) is tokens


def test_a_prompt_of_which_nothing_is_left_is_refused():
    with pytest.raises(BadRequest):
        SURFACE.edited(parse(), lambda role, name, text: None)


# Answers


def test_the_tokens_are_read():
    completion = read(answer(choice(0, "Par", "is"), choice(1, "Lyon")))
    assert [c.evidence.answer for c in completion.choices] == ["Paris", "Lyon"]
    assert completion.choices[0].evidence.token_logprobs == [-0.25, -0.25]
    assert (completion.prompt_tokens, completion.completion_tokens) == (3, 4)


def test_the_alternatives_are_ranked_and_as_many_as_were_asked_for():
    tops = {f"t{k}": -float(k) for k in (3, 1, 2, 0, 5, 4, 6)}
    given = answer(choice(0, "x", logprobs=lists("x", tops=tops)))
    assert read(given, TOPS).choices[0].evidence.top_logprobs == [[0.0, -1.0, -2.0, -3.0, -4.0]]


def test_the_chats_form_is_read_too():
    """As llama.cpp answers here."""
    content = [{"token": "Par", "logprob": -0.5, "top_logprobs": []}, {"token": "is", "logprob": -1.0}]
    given = answer(choice(0, "Par", "is", logprobs={"content": content}))
    assert read(given).choices[0].evidence.token_logprobs == [-0.5, -1.0]


@pytest.mark.parametrize(
    "logprobs",
    [
        None, {}, {"tokens": [], "token_logprobs": []}, "-0.1", {"tokens": ["Par"], "token_logprobs": [-0.1]},
        {"tokens": ["Par", "is"], "token_logprobs": [-0.1]}, {"tokens": ["Par", "is"], "token_logprobs": [None, -0.1]},
        {"tokens": ["Par", "is"], "token_logprobs": [3, -0.1]},
        {"tokens": ["Par", "is"], "token_logprobs": [-0.1, -0.1], "top_logprobs": [None]},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_unmeasured(logprobs):
    from gating import SCORERS

    (found,) = read(answer(choice(0, "Par", "is", logprobs=logprobs))).choices
    assert found.evidence.answer == "Paris"
    assert isinstance(SCORERS["mean_logprob"].score(found.evidence), Unmeasured)


@pytest.mark.parametrize("body", [b"", b"[", b"<html>", b'{"choices": [1], "x": "'])
def test_garbage_is_told(body):
    with pytest.raises(UpstreamGarbage):
        SURFACE.read(body, LOGPROBS)


@pytest.mark.parametrize("body", [b"[]", b"42", b"{}", b'{"choices": []}', b'{"content": "SECRET"}'])
def test_an_answer_without_choices_is_missing(body):
    assert SURFACE.read(body, LOGPROBS).choices[0].missing


@pytest.mark.parametrize("body", [
    b'{"choices": [{"text": 3}]}', b'{"choices": [{"message": {"content": "x"}}]}', b'{"choices": ["x"]}',
])  # fmt: skip
def test_a_choice_whose_text_cannot_be_read_says_so(body):
    found = SURFACE.read(body, LOGPROBS).choices[0]
    assert found.missing or found.unreadable is not None or found.evidence.answer == ""


# What the client gets


def test_a_served_answer_keeps_its_fields_and_loses_the_logprobs_that_nobody_asked_for():
    got = render(answer(choice(0, "Paris", extra=1), more=2), parse())
    assert got["idk"]["choices"][0]["decision"] == "answer"
    assert (got["more"], got["choices"][0]["extra"]) == (2, 1)
    assert got["choices"][0]["logprobs"] is None


def test_logprobs_that_the_client_asked_for_are_its_own():
    tops = {"x": -3.0, "a": -0.1, "b": -1.0, "c": -2.0}
    given = answer(choice(0, "x", logprobs=lists("x", tops=tops)))
    got = render(given, parse(logprobs=2), TOPS)
    assert got["choices"][0]["logprobs"]["top_logprobs"] == [{"x": -3.0, "a": -0.1, "b": -1.0}]
    assert render(given, parse(logprobs=5), TOPS)["choices"] == given["choices"]


def test_an_abstention_is_text():
    got = render(answer(choice(0, "Paris"), choice(1, "Lyon", secret="Lyon")), parse(n=2), withheld={1})
    assert got["choices"][1] == {"index": 1, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
    assert got["choices"][0]["text"] == "Paris"
    assert "Lyon" not in json.dumps(got)


# Streams

CHUNKS = [
    answer({"index": 0, "text": "Par", "logprobs": lists("Par"), "finish_reason": None}, usage=None),
    answer({"index": 0, "text": "is", "logprobs": lists("is"), "finish_reason": "stop"}),
]


def test_a_held_stream_goes_out_whole_at_the_end():
    flowing, end = streamed(parse(stream=True), *CHUNKS)
    assert flowing == b""
    found = payloads(end)
    assert "".join(chunk["choices"][0]["text"] for chunk in found) == "Paris"
    assert [chunk["choices"][0]["logprobs"] for chunk in found] == [None, None]
    assert ["idk" in chunk for chunk in found] == [False, True]


def test_a_withheld_stream_is_one_abstention():
    flowing, end = streamed(parse(stream=True), *CHUNKS, withheld={0})
    assert flowing == b""
    assert b"Par" not in end
    found, last = payloads(end)
    assert found["choices"] == [{"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["idk"]["choices"][0]["decision"] == "abstain"


def test_an_observed_stream_flows():
    flowing, end = streamed(parse(stream=True), *CHUNKS, hold=False)
    assert [chunk["choices"][0]["text"] for chunk in payloads(flowing)] == ["Par"]
    assert [chunk["choices"][0]["text"] for chunk in payloads(end)] == ["is"]
