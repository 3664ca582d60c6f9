"""Similarities of texts, against rouge-score's numbers."""

from __future__ import annotations

import json
from pathlib import Path

from gating.scorers.sentences import sentences
from gating.scorers.similarity import Text, jaccard

ORACLE = json.loads(Path(__file__).with_name("data").joinpath("sample_scorers.json").read_text())


def test_nothing_is_like_nothing():
    empty = Text.of("…")
    assert jaccard(empty, empty) == 0.0


def test_sentences_are_cut_at_their_ends_and_lines():
    text = "Dr. Who lives in St. Ives.  He is 3.5 m tall!\n\n- one\n- two\n---\nJ. R. Tolkien? Yes."
    expected = ("Dr. Who lives in St. Ives.", "He is 3.5 m tall!", "- one", "- two", "J. R. Tolkien?", "Yes.")
    assert sentences(text) == expected
