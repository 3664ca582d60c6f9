"""Finding an answer's own tokens, as the servers return them."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gating import SCORERS, Evidence
from gating.evidence import FLAT_TOKENS, FLOOR, answer_logprobs, call_evidence, clean_logprobs, evidence_of
from gating.types import Unmeasured

NO_MATCH = Unmeasured("tokens do not match the content")


def find(content, tokens, token_bytes=None):
    return answer_logprobs(content, tokens, [-0.5] * len(tokens), token_bytes)


@pytest.mark.parametrize(
    ("content", "tokens", "start", "end"),
    [
        pytest.param("Paris.", ["Par", "is", "."], 0, 3, id="exact"),
        pytest.param("Paris.", ["Paris", ".", ""], 0, 2, id="llama.cpp: the end token without text"),
        pytest.param("Paris.", ["Paris", ".", "<|im_end|>"], 0, 2, id="llama.cpp: the end token with text"),
        pytest.param("Paris.", ["Paris", ".", "</s>", ""], 0, 2, id="two end tokens"),
        pytest.param("Paris", ["Paris", "<｜end▁of▁sentence｜>"], 0, 1, id="DeepSeek's end token"),
        pytest.param("Paris", [" Paris"], 0, 1, id="leading space stripped from a token"),
        pytest.param("Paris", ["\n\n", "Paris"], 1, 2, id="leading whitespace stripped with its token"),
        pytest.param("Paris.", ["Paris", ".\n"], 0, 2, id="trailing space stripped from a token"),
        pytest.param("Paris.", ["Paris", ".", "\n", "<|eot_id|>", " "], 0, 2, id="trailing, mixed"),
        pytest.param("Paris\n", ["Paris", "\n", "<|im_end|>"], 0, 2, id="whitespace that stayed counts"),
        pytest.param(
            "Paris", ["<think>", "is it Paris", "?", "</think>", "Paris"], 4, 5, id="reasoning before"
        ),
        pytest.param("Paris", ["so", "</think>", "\n\n", " Paris", "<|im_end|>"], 3, 4, id="all at once"),
        pytest.param("use <b>", ["use", " <b>"], 0, 2, id="markup that is the answer's"),
        pytest.param("</s>", ["</s>"], 0, 1, id="an answer that looks like an end token"),
    ],
)
def test_the_answers_own_tokens(content, tokens, start, end):
    assert find(content, tokens) == slice(start, end)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        pytest.param("Paris", ["Lyon"], id="another text"),
        pytest.param("Paris", ["Par"], id="a token is missing"),
        pytest.param("Paris", ["It is Paris"], id="a suffix inside a token"),
        pytest.param("Paris", ["Paris", " is", " it"], id="ordinary tokens beyond the content"),
        pytest.param("Paris", ["<|im_end|>"], id="an end token alone"),
        pytest.param("Paris", [" "], id="whitespace alone"),
        pytest.param("Paris is", ["Paris", "is"], id="whitespace inside differs"),
        pytest.param("a€b", ["a", "\ufffd", "c"], id="a piece beside other text"),
    ],
)
def test_other_text_is_unmeasured(content, tokens):
    assert find(content, tokens) == NO_MATCH


@pytest.mark.parametrize(
    ("content", "tokens", "start", "end"),
    [
        pytest.param("5 €", ["5", " \ufffd", "\ufffd"], 0, 3, id="pieces"),
        pytest.param("€", ["</think>", "\ufffd", "\ufffd", "\ufffd"], 1, 4, id="pieces after reasoning"),
        pytest.param("a😀b", ["a", "\ufffd", "\ufffd", "\ufffd", "b", ""], 0, 5, id="pieces inside"),
        pytest.param("5 €", ["5", " ", "bytes:\\xe2\\x82", "bytes:\\xac"], 0, 4, id="OpenAI's completions"),
    ],
)
def test_characters_that_span_tokens(content, tokens, start, end):
    assert find(content, tokens) == slice(start, end)


def test_bytes_tell_exactly():
    tokens = ["", "", " ", "x"]
    raw = [[0xE2, 0x82], [0xAC], None, [0x78]]
    assert find("€ x", tokens, raw) == slice(0, 4)
    assert find("£ x", tokens, raw) == NO_MATCH


def test_bytes_that_repeat_the_replacement_character_fall_back_to_text():
    piece = list("\ufffd".encode())  # vLLM encodes the text that it shows
    assert find("a€", ["a", "\ufffd", "\ufffd"], [[0x61], piece, piece]) == slice(0, 3)


def test_whitespace_among_bytes_is_ascii_only():
    """0xa0 ends the UTF-8 of "à" and is whitespace in Latin-1."""
    assert find("à", ["", "", ""], [[0xC3], [0xA0], []]) == slice(0, 2)


def test_bytes_of_another_number_are_not_used():
    assert find("a", ["a", "<|im_end|>"], [[0x62]]) == slice(0, 1)


def test_a_very_long_run_of_pieces_is_not_followed():
    """A model that repeats an emoji for ever must not hold the gate; with the bytes it is still exact."""
    content, parts = "x" + "😀" * 20_000, ["x"] + ["\ufffd"] * 80_000
    assert find(content, parts) == NO_MATCH
    assert find(content, parts, [[byte] for byte in content.encode()]) == slice(0, 80_001)


@given(st.text(min_size=1, max_size=15), st.data())
@example(" à ", None)
def test_any_split_of_the_bytes_is_found(content, data):
    """Whole with its bytes; and, but for whitespace at the ends, from the text that a server shows of each."""
    raw = content.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(raw) - 1, 1))))) if data else [1, 2]
    parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if raw[a:b]]
    shown = [part.decode(errors="replace") for part in parts]
    if not content.strip():
        assert find(content, shown) == Unmeasured("the answer is empty")
        return
    assert find(content, shown, [list(part) for part in parts]) == slice(0, len(parts))
    assert isinstance(find(content, shown), slice)
    tokens = ["thinking", "</think>", *shown, "<|im_end|>"]
    found = find(content, tokens, [list(b"thinking"), list(b"</think>"), *map(list, parts), []])
    assert isinstance(found, slice)
    assert b"".join(parts[found.start - 2 : found.stop - 2]).strip() == raw.strip()


@pytest.mark.parametrize(
    ("logprobs", "reason"),
    [
        ([], "no token logprobs"),
        ([-0.1], "2 tokens but 1 logprobs"),
        ([-0.1, None], "a token has no logprob"),
        ([-0.1, math.nan], "a token's logprob is NaN"),
        ([0.1, -0.1], "a token's logprob is positive"),
    ],
)
def test_unusable_logprobs_are_unmeasured(logprobs, reason):
    assert answer_logprobs("Paris", ["Par", "is"], logprobs) == Unmeasured(reason)


def test_logprobs_outside_the_answer_do_not_matter():
    tokens = ["hm", "</think>", "Paris", ""]
    assert answer_logprobs("Paris", tokens, [math.nan, None, -0.1, 2.0]) == slice(2, 3)


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_answer_is_unmeasured(content):
    assert find(content, [content]) == Unmeasured("the answer is empty")


def test_evidence_is_cut_to_the_answer():
    found = evidence_of(
        "Paris",
        ["\n", "Par", "is", ""],
        [-9.0, -0.1, -0.2, -3.0],
        top_logprobs=[[-9.0], [-0.1, -3.0], [-0.2, -2.0], [-3.0]],
        samples=("Lyon",),
    )
    assert found.token_logprobs == [-0.1, -0.2]
    assert found.top_logprobs == [[-0.1, -3.0], [-0.2, -2.0]]
    assert (found.answer, found.samples) == ("Paris", ("Lyon",))


def test_evidence_without_tokens_or_without_a_match():
    assert evidence_of("Paris", None, None).token_logprobs is None
    assert evidence_of("Paris", ["Paris"], None).token_logprobs is None
    found = evidence_of("Paris", ["Lyon"], [-0.1], top_logprobs=[[-0.1]])
    assert (found.token_logprobs, found.top_logprobs) == (NO_MATCH, None)


def test_top_logprobs_of_another_length_stay_whole_for_the_scorer_to_refuse():
    found = evidence_of("Paris", ["Paris", ""], [-0.1, -0.2], top_logprobs=[[-0.1]] * 3)
    assert found.top_logprobs == [[-0.1]] * 3
    assert evidence_of("Paris", ["Paris"], [-0.1]).top_logprobs is None


@pytest.mark.parametrize(
    ("arguments", "tokens", "kept"),
    [
        (['{"a": 1}'], ["<call>", '{"a"', ": ", "1}", "</call>"], [1, 2, 3]),
        (['{"a": 1}'], ["<call>{", '"a": ', "1", "}</call>"], [0, 1, 2, 3]),
        (["{}", "{}"], ["f", "{}", " g", "{", "}"], [1, 3, 4]),
        (["x"], ["x"], [0]),
    ],
)
def test_the_tokens_of_a_calls_arguments(arguments, tokens, kept):
    logprobs = [-float(n) for n in range(len(tokens))]
    evidence = call_evidence(arguments, tokens, logprobs)
    assert list(evidence.token_logprobs) == [logprobs[place] for place in kept]
    assert evidence.answer == "\n".join(arguments)


@pytest.mark.parametrize(
    ("arguments", "tokens"), [(["{}"], []), (["a", "a"], ["a"]), ([""], ["a"]), (["ab"], ["a"])]
)
def test_arguments_that_are_not_spelt_are_unmeasured(arguments, tokens):
    evidence = call_evidence(arguments, tokens, [-1.0] * len(tokens))
    assert isinstance(evidence.token_logprobs, Unmeasured)


def test_no_arguments_have_no_tokens():
    assert call_evidence([], ["a"], [-1.0]).token_logprobs == []


@pytest.mark.parametrize("value", [0.0, -0.0, -9999.0, -math.inf, FLOOR])
def test_constant_logprobs_are_no_evidence(value):
    assert clean_logprobs([value] * FLAT_TOKENS) == Unmeasured("flat logprobs")
    assert SCORERS["min_logprob"].score(Evidence("x", token_logprobs=[value] * 50)) == Unmeasured(
        "flat logprobs"
    )
    assert not isinstance(clean_logprobs([value] * (FLAT_TOKENS - 1)), Unmeasured)
    assert not isinstance(clean_logprobs([value] * 50 + [-1e-7]), Unmeasured)


@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5b", "smollm2-135m"])
def test_real_answers_are_not_flat(name):
    path = (
        Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))
        / f"generations/{name}.jsonl"
    )
    if not path.is_file():
        pytest.skip(f"the measuring data are not at {path}")
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    found = [clean_logprobs(row["token_logprobs"]) for row in rows if row.get("token_logprobs")]
    assert len(found) > 100
    assert Unmeasured("flat logprobs") not in found
