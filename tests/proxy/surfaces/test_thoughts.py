"""Thoughts inside the content of an answer: what is thought, and what is the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.surfaces.thoughts import Visible, begins_thought, visible

TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ('<think type="x">', "</think >"),
    ("<THINK>", "</Think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("◁think▷", "◁/think▷"),
]
TEXT = st.text(st.characters(exclude_characters="<[◁", exclude_categories=["Cs"]))


@pytest.mark.parametrize(("start", "end"), TAGS)
@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("{0}a{1}Paris", "Paris"),
        ("{0}a{1}\n\nParis\n", "Paris"),
        ("Paris{0}a{1}", "Paris"),
        ("a{1}Paris", "Paris"),
        ("{0}a{0}b{1}c{1}Paris", "Paris"),
        ("{0}a{1}Par{0}b{1}is", "Paris"),
        ("{0}a", None),
        ("Paris{0}a", None),
        ("{0}a{1}", None),
        ("{0}a{1} \n", None),
        ("{0}a{1}Paris{0}b", None),
    ],
)
def test_tags(start, end, form, answer):
    content = form.format(start, end)
    assert visible(content) == Visible(answer, has_thoughts=True)
    assert begins_thought(content)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Paris<|return|>",
            "Paris",
        ),
        ("<|channel|>final<|message|>Paris", "Paris"),
        ("<|channel|>analysis<|message|>a", None),
        ("<|channel|>commentary<|message|>a<|end|>", None),
        ("<|channel|>final<|message|>", None),
    ],
)
def test_channels(content, answer):
    assert visible(content) == Visible(answer, has_thoughts=True)


@given(TEXT)
def test_a_text_without_marks_is_the_answer(text):
    assert visible(text) == Visible(text, has_thoughts=False)
    assert not begins_thought(text)


@pytest.mark.parametrize(
    "text", ["a < b", "<b>bold</b>", "[1] and [2]", "<thinker>x</thinker>", "List<Thought>", ""]
)
def test_marks_of_something_else_are_no_thoughts(text):
    assert visible(text).has_thoughts is (text == "List<Thought>")


@given(TEXT, TEXT)
def test_no_part_of_a_thought_is_in_the_answer(thought, answer):
    assert visible(f"<think>{thought}</think>{answer}").text == (answer.strip() or None)
