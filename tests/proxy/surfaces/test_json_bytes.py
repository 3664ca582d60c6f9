"""A few places of a JSON text are changed, and nothing else of it, whatever stands in it."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import UpstreamGarbage
from proxy.surfaces.choices import Spans
from proxy.surfaces.json_bytes import SENTINEL, null, replace_logprobs, strict_json, with_field

TEXT = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ['"logprobs":', '"logprobs":{"a":1}', "logprobs", '\\"logprobs\\": null', "}", "é\u2028😀"]
    ),
).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
KEY = st.one_of(TEXT, st.sampled_from(["logprobs", "content", "tokens"]))
LEAF = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9), TEXT)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=8
)
OBJECT = st.dictionaries(KEY, VALUE, max_size=4)
LOGPROBS = st.fixed_dictionaries(
    {"logprobs": st.none() | st.dictionaries(KEY, VALUE, min_size=1, max_size=2)}
)
CHOICE = st.builds(
    lambda before, logprobs, after: {
        **{k: v for k, v in before.items() if k not in ("index", "finish_reason", "logprobs")},
        "message": {"content": "x", **{k: v for k, v in after.items() if k == "extra"}},
        **logprobs,
        "more": after,
    },
    OBJECT, st.just({}) | LOGPROBS, OBJECT,
)  # fmt: skip
DUMPS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 2},
        {"separators": (" ,\t", "\r\n : ")},
        {"ensure_ascii": False},
    ]
)


def without(fields, *names):
    return {key: value for key, value in fields.items() if key not in names}


@given(OBJECT, st.lists(CHOICE, max_size=3), OBJECT, DUMPS)
def test_the_choices_logprobs_are_replaced_and_nothing_else(before, choices, after, style):
    names = ("choices", "usage", "error")
    answer = {"first": 0, **without(before, *names), "choices": choices, **without(after, *names)}
    body = json.dumps(answer, **style).encode()
    values = [choice.logprobs for choice in msgspec.json.decode(body, type=Spans).choices]
    replaced = json.loads(replace_logprobs(body, values, lambda _: b'{"new":[1]}'))
    for choice in choices:
        if choice.get("logprobs") is not None:
            choice["logprobs"] = {"new": [1]}
    assert replaced == answer


@pytest.mark.parametrize(
    "body",
    [
        b'{"verbose": {"logprobs": {"a": 1}}, "choices": [{"logprobs": {"a": 1}}]}',
        b'{"choices": [{"logprobs": {"a": 1}}], "verbose": {"logprobs": {"a": 1}}}',
        b'{"choices": [{"log\\u0070robs": {"a": 1}}]}',
        b'{"verbose": {"logprobs": 12}, "choices": [{"logprobs": 1}]}',
    ],
    ids=["a copy before", "a copy behind", "an escaped key", "a number"],
)
def test_a_servers_own_fields_of_that_name_are_left(body):
    choice = json.loads(body)["choices"][0]["logprobs"]
    value = msgspec.json.encode(choice) if isinstance(choice, int) else b'{"a": 1}'
    expected = {**json.loads(body), "choices": [{"logprobs": None}]}
    assert json.loads(replace_logprobs(body, [msgspec.Raw(value)], null)) == expected


def test_bytes_outside_the_values_stay_as_they_were():
    body = b'{ "x" : 1.50,"choices":[ {"logprobs" : {"content": []} ,"y":"\\u00e9"} ] }'
    changed = replace_logprobs(body, [msgspec.Raw(b'{"content": []}')], null)
    assert changed == b'{ "x" : 1.50,"choices":[ {"logprobs" : null ,"y":"\\u00e9"} ] }'


def test_a_body_without_choices_keeps_its_fields():
    body = b'{"logprobs": {"a": 1}}'
    assert json.loads(replace_logprobs(body, [], null)) == json.loads(body)


@given(OBJECT, VALUE, DUMPS, st.sampled_from(["", "\n", " \t\r\n"]))
def test_one_more_field(fields, value, style, end):
    fields = without(fields, "idk")
    body = (json.dumps(fields, **style) + end).encode()
    assert json.loads(with_field(body, b"idk", json.dumps(value).encode())) == {**fields, "idk": value}


def test_an_empty_object_takes_a_field():
    assert with_field(b"{ }", b"a", b"1") == b'{ "a":1}'


@given(st.recursive(LEAF | st.sampled_from([math.nan, math.inf, -math.inf]), st.lists))
def test_numbers_that_are_no_json_become_json(value):
    def finite(value):
        if isinstance(value, list):
            return [finite(item) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return SENTINEL if value == -math.inf else None
        return value

    body = json.dumps({"a": value}).encode()
    assert json.loads(strict_json(body)) == {"a": finite(value)}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>",
        b'{"a": "\xff"}',
        b'"\\ud800"',
        b"[" * 100_000,
        b"[NaN" + b" " * 1_000_000 + b"]",
    ],
    ids=lambda body: repr(body[:9]),
)
def test_what_is_no_json_is_refused(body):
    with pytest.raises(UpstreamGarbage, match="not JSON"):
        strict_json(body)


def test_a_choice_without_logprobs_has_nothing_to_replace():
    body = b'{"choices": [{}]}'
    (choice,) = msgspec.json.decode(body, type=Spans).choices
    assert replace_logprobs(body, [choice.logprobs], null) == body
