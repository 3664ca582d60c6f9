"""Answers among tokens that are spelled differently, or more than the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.types import Unmeasured
from proxy.surfaces.token_spelling import NO_MATCH, align


@pytest.mark.parametrize(
    ("text", "tokens", "place"),
    [
        ("Paris", ["Par", "is", "\n\n", "Next"], slice(0, 2)),
        ("Paris", ["Par", "is!", " Next"], slice(0, 2)),
        ("Paris", ["\n", " Par", "is"], slice(1, 3)),
        ("in Paris", ["▁in", "▁Par", "is"], slice(0, 3)),
        ("in Paris", ["in", "ĠPar", "is"], slice(0, 3)),
        ("né", ["n", "Ã©"], slice(0, 2)),
        ("né", ["n", "<0xC3>", "<0xA9>"], slice(0, 3)),
        ('{"a": 1}', ["```", "json", "\n", '{"a"', ": 1}", "\n", "```"], slice(3, 5)),
        ('{"a": 1}', ["```", "\n", '{"a"', ": 1}", "\n", "```", "<|im_end|>"], slice(2, 4)),
    ],
)
def test_the_answers_tokens_are_found(text, tokens, place):
    assert align(text, tokens) == place


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Paris", ["Lyon"]),
        ("Paris", ["No", ": ", "Paris"]),
        ('{"a": 1}', ["```", "json", "\n", '{"a": 1}', "\n", "```", " or ", '{"a": 2}']),
        ("Paris", ["Par"]),
        ("Paris", []),
    ],
)
def test_another_text_does_not_match(text, tokens):
    assert align(text, tokens) == NO_MATCH


def test_ids_have_no_text():
    found = align("Paris", ["token_id:5", "token_id:6"])
    assert isinstance(found, Unmeasured)
    assert "token_id" in found.reason


@given(
    st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6),
    st.lists(st.text(max_size=4), max_size=3),
)
def test_the_place_always_spells_the_answer(tokens, more):
    text = "".join(tokens).strip()
    found = align(text, tokens + more) if text else NO_MATCH
    if not isinstance(found, Unmeasured):
        assert text in "".join((tokens + more)[found])
