"""How much a body may hold, counted before it is decoded."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import BodyTooLarge, UpstreamTooLarge
from proxy.server.json_budget import (
    ANSWER_ESCAPES,
    ANSWER_OTHERS,
    ANSWER_WIDE,
    ESCAPES,
    OTHERS,
    STRINGS_EACH,
    WIDE,
    check_answer,
    check_request,
)

MOST = 20
TRICKY = ['"', "\\", '\\"', '","', "{", "[{", ",,,,", '\\\\"', "д", "\ud83d\ude00", "\n"]
VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.sampled_from(TRICKY) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.sampled_from(TRICKY), inner, max_size=5),
    max_leaves=60,
)


def counted(value) -> tuple[int, int, int]:
    """Return the numbers of strings, objects and commas in a value."""
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
        check_request(body, MOST)
    elif len(body) > 2 * MOST:
        with pytest.raises(BodyTooLarge, match="max_body_strings"):
            check_request(body, MOST)


def test_so_many_escapes_and_no_more():
    check_request(json.dumps("\n" * ESCAPES * MOST).encode(), MOST)
    with pytest.raises(BodyTooLarge, match=rf"over {ESCAPES * MOST} escapes \(server.max_body_strings\)"):
        check_request(json.dumps("\n" * (ESCAPES * MOST + 1)).encode(), MOST)


def in_memory(texts: list[str]) -> int:
    """Return the bytes of the texts with characters beyond Latin-1, as the interpreter reports them."""
    return sum(
        sys.getsizeof(text) - sys.getsizeof(text[0]) for text in map(padded, texts) if not is_narrow(text)
    )


def is_narrow(text: str) -> bool:
    return all(letter < "\u0100" for letter in text)


def padded(text: str) -> str:
    """Return the text with its widest character repeated at the front."""
    return max(text, default="") + text


WORDS = st.text(st.sampled_from(["a", "é", '"', "\\", "д", "…", "한", "\N{GRINNING FACE}"]), max_size=40)


@given(st.lists(WORDS, max_size=MOST))
def test_what_texts_beyond_latin_1_take_in_memory_is_told_from_their_bytes(texts):
    texts = [text * 60 for text in texts]
    body = json.dumps(texts, ensure_ascii=False).encode()
    if in_memory(texts) > 2 * WIDE * MOST:  # an escape of two characters is counted as both
        with pytest.raises(
            BodyTooLarge, match=rf"over ({ESCAPES * MOST} escapes|{WIDE * MOST} bytes of text)"
        ):
            check_request(body, MOST)
    elif sum(len(text) * 4 for text in texts) <= WIDE * MOST and body.count(b"\\") <= ESCAPES * MOST:
        check_request(body, MOST)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize(("letter", "takes"), [("д", 2), ("한", 2), ("\N{GRINNING FACE}", 4)])
@pytest.mark.parametrize("first", [False, True])
def test_one_character_widens_all_of_its_text_and_no_other(letter, takes, first, ascii_only):
    takes = 4 if (letter, ascii_only) == ("한", True) else takes  # its code begins as that of a pair does
    most = WIDE * MOST // takes - 2
    others = ["y" * WIDE * MOST, "é" * WIDE * MOST, '\\"' * 20]

    def body(length: int) -> bytes:
        text = letter + "x" * length if first else "x" * length + letter
        return json.dumps([*others, text], ensure_ascii=ascii_only).replace("\\u00e9", "z").encode()

    check_request(body(most), MOST)
    with pytest.raises(BodyTooLarge, match=r"bytes of text beyond Latin-1, as it is held in memory"):
        check_request(body(most + 3), MOST)


def test_an_answers_text_may_take_so_much_memory_and_no_more():
    check_answer(json.dumps("д" + "x" * (ANSWER_WIDE * MOST // 2 - 1)).encode(), MOST)
    with pytest.raises(UpstreamTooLarge, match=rf"over {ANSWER_WIDE * MOST} bytes of text beyond Latin-1"):
        check_answer(json.dumps("д" + "x" * (ANSWER_WIDE * MOST // 2)).encode(), MOST)


def test_a_million_tokens_of_english_with_an_emoji_pass_by_default_and_so_does_a_large_picture():
    check_request(json.dumps("word" * 1_000_000 + "\N{GRINNING FACE}").encode(), 32_000)
    check_request(json.dumps(["A" * 19_000_000, "What is it? \N{GRINNING FACE}"]).encode(), 32_000)


@given(st.binary(max_size=300))
def test_what_is_no_json_is_counted_all_the_same(body):
    with suppress(BodyTooLarge):
        check_request(body, MOST)


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
