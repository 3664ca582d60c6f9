"""Confidences in words."""

from __future__ import annotations

import pytest

from gating import Unmeasured
from gating.verbalised import verbalised_confidence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Confidence: 80%", 0.8),
        ("0.8", 0.8),
        (".8", 0.8),
        ("80 out of 100", 0.8),
        ("80", 0.8),
        ("**Confidence**: 8/10", 0.8),
        ("I am 90% sure.", 0.9),
        ("I'm 75 percent certain that it is Paris", 0.75),
        ("Paris, founded 250 BC. Confidence level: 0.85", 0.85),
        ("Probability: 1.0", 1.0),
        ("Confidence: 0", 0.0),
        ("ninety percent", 0.9),
        ("Confidence: 100", 1.0),
    ],
)
def test_plain_statements_are_read(text, expected):
    assert verbalised_confidence(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Paris", "Confidence: high", "7", "1", "Confidence: 1", "Confidence: 8", "Confidence: 80-90%"),
        *(
            "between 80% and 90% sure",
            "120%",
            "Confidence: 3/0",
            "-0.5",
            "Confidence: -0.5",
            "In 1969 it was 12",
        ),
        *("Confidence: 500", "0.8 0.9", "The answer is 12"),
    ],
)
def test_what_is_not_plain_is_unmeasured(text):
    assert isinstance(verbalised_confidence(text), Unmeasured)
