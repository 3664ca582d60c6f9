"""How much a body may hold, counted before it is decoded."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import BodyTooLarge, UpstreamTooLarge
from proxy.shape import (
    ANSWER_ESCAPES,
    ANSWER_OTHERS,
    ESCAPES,
    OTHERS,
    STRINGS_EACH,
    check_answer,
    check_shape,
)

MOST = 20
TRICKY = ['"', "\\", '\\"', '","', "{", "[{", ",,,,", '\\\\"', "д", "\ud83d\ude00", "\n"]
VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.sampled_from(TRICKY) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.sampled_from(TRICKY), inner, max_size=5),
    max_leaves=60,
)


def counted(value) -> tuple[int, int, int]:
    """Its strings, objects and commas."""
    if isinstance(value, str):
        return 1, 0, 0
    if isinstance(value, dict):
        inner = [counted(each) for each in value.values()]
        own = (len(value), 1, max(len(value) - 1, 0))
    elif isinstance(value, list):
        inner, own = [counted(each) for each in value], (0, 0, max(len(value) - 1, 0))
    else:
        return 0, 0, 0
    return tuple(map(sum, zip(own, *inner, strict=True)))  # type: ignore[return-value]


@given(VALUES, st.booleans())
def test_what_is_counted_is_exact_whatever_stands_in_strings(value, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    strings, objects, commas = counted(value)
    if strings <= MOST and objects <= MOST and commas <= OTHERS * MOST:
        check_shape(body, MOST)
    elif len(body) > 2 * MOST:
        with pytest.raises(BodyTooLarge, match="max_body_strings"):
            check_shape(body, MOST)


def test_so_many_escapes_and_no_more():
    check_shape(json.dumps("\n" * ESCAPES * MOST).encode(), MOST)
    with pytest.raises(BodyTooLarge, match=rf"over {ESCAPES * MOST} escapes \(server.max_body_strings\)"):
        check_shape(json.dumps("\n" * (ESCAPES * MOST + 1)).encode(), MOST)


@given(st.binary(max_size=300))
def test_what_is_no_json_is_counted_all_the_same(body):
    with suppress(BodyTooLarge):
        check_shape(body, MOST)


@given(VALUES)
def test_an_answer_is_counted_as_exactly_by_bounds_of_its_own(value):
    body = json.dumps(value).encode("utf-8", "surrogatepass")
    strings, objects, commas = counted(value)
    escapes = body.count(b"\\")
    within = (
        strings <= MOST
        and objects <= MOST // STRINGS_EACH
        and commas <= ANSWER_OTHERS * MOST
        and escapes <= ANSWER_ESCAPES * MOST
    )
    if within:
        check_answer(body, MOST)
    elif len(body) > max(2 * MOST, ANSWER_ESCAPES * MOST):
        with pytest.raises(UpstreamTooLarge, match="max_answer_strings"):
            check_answer(body, MOST)


def test_as_many_tokens_as_are_promised_pass_and_no_more():
    token = {"token": "知道", "logprob": -0.1, "bytes": [*"知道".encode()], "top_logprobs": []}
    alternative = {"token": "知道", "logprob": -0.1, "bytes": [*"知道".encode()]}
    plain = json.dumps([token] * 40_000)
    check_answer(plain.encode(), 200_000)
    ranked = token | {"top_logprobs": [alternative] * 5}
    check_answer(json.dumps([ranked] * 8_000).encode(), 200_000)
    for more in ([token] * 40_001, [ranked] * 8_400):
        with pytest.raises(UpstreamTooLarge, match="the upstream's answer has over"):
            check_answer(json.dumps(more).encode(), 200_000)
