"""The open-book answer held against the closed-book one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating import SCORERS, Evidence, Unmeasured

CONTRAST = SCORERS["closed_book_contrast"]


def score(answer, closed, *, open_logprobs=(-0.1,), closed_logprobs=(-0.5,)):
    return CONTRAST.score(
        Evidence(
            answer,
            token_logprobs=open_logprobs and list(open_logprobs),
            closed_book=Evidence(closed, token_logprobs=closed_logprobs and list(closed_logprobs)),
        )
    )


@pytest.mark.parametrize(("answer", "closed", "expected"), [
    ("Paris", "paris.", math.exp(-0.5)),
    ("Paris", "Lyon", -math.exp(-0.5)),
    ("Paris", "I don't know.", 0.0),
    ("1969", "It was in 1969.", math.exp(-0.5)),
    ("New York City", "New York", (2 * 2 / 3 - 1) * math.exp(-0.5)),
])  # fmt: skip
def test_a_confident_closed_book_answer_speaks_for_or_against(answer, closed, expected):
    assert score(answer, closed) == pytest.approx(expected)


def test_without_any_logprobs_the_sign_alone_speaks():
    assert score("Paris", "Paris", open_logprobs=None, closed_logprobs=None) == 0.5
    assert score("Paris", "Rome", open_logprobs=None, closed_logprobs=None) == -0.5


@pytest.mark.parametrize("found", [
    CONTRAST.score(Evidence("Paris", token_logprobs=[-0.1])),
    score("I don't know.", "Paris"),
    score("?", "Paris"),
    score("Paris", "Paris", closed_logprobs=None),
    score("Paris", "Paris", closed_logprobs=(math.nan,)),
])  # fmt: skip
def test_what_is_missing_is_unmeasured(found):
    assert isinstance(found, Unmeasured)


@given(st.sampled_from(["Paris", "Lyon", "no idea", "7", "Paris, France"]), st.floats(-50, 0))
def test_it_lies_between_minus_one_and_one(closed, logprob):
    assert -1.0 <= score("Paris", closed, closed_logprobs=(logprob,)) <= 1.0
