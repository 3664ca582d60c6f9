"""The logprob scorers against numpy's formulas and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating import SCORERS, Evidence, Unmeasured
from gating.evidence import FLOOR

LOGPROBS = st.lists(st.floats(-60.0, 0.0), min_size=1, max_size=80)
NAMES = [
    "mean_logprob",
    "min_logprob",
    "sequence_logprob",
    "first_token_logprob",
    "tail_logprob",
    "topk_entropy",
]
ON_TOKENS = NAMES[:-1]


def score(name: str, logprobs=None, top=None):
    return SCORERS[name].score(Evidence("Paris", token_logprobs=logprobs, top_logprobs=top))


def reason(name: str, logprobs=None, top=None) -> str:
    found = score(name, logprobs, top)
    assert isinstance(found, Unmeasured)
    assert not found
    return found.reason


def test_the_contracts_names_are_in_the_table():
    assert set(NAMES) <= set(SCORERS)
    assert all(SCORERS[name].name == name for name in SCORERS)


@given(LOGPROBS)
def test_each_statistic_is_numpys(logprobs):
    values = np.array(logprobs)
    width = math.ceil(len(values) / 10)
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    assert score("mean_logprob", logprobs) == pytest.approx(values.mean(), abs=1e-12)
    assert score("min_logprob", logprobs) == values.min()
    assert score("sequence_logprob", logprobs) == pytest.approx(values.sum(), abs=1e-12)
    assert score("first_token_logprob", logprobs) == values[0]
    assert score("tail_logprob", logprobs) == pytest.approx(windows.mean(axis=1).min(), abs=1e-9)


@given(LOGPROBS)
def test_an_array_scores_as_its_list(logprobs):
    for name in ON_TOKENS:
        found = score(name, np.array(logprobs))
        assert type(found) is float
        assert found == pytest.approx(score(name, logprobs), abs=1e-9)


def test_the_tail_is_the_worst_window_of_a_tenth():
    logprobs = [-0.1] * 20
    logprobs[7], logprobs[8], logprobs[15] = -2.0, -3.0, -4.0
    assert score("tail_logprob", logprobs) == pytest.approx(-2.5)  # 20 tokens: windows of two


@pytest.mark.parametrize("sentinel", [-9999.0, -math.inf, -1e30])
def test_sentinels_are_clipped(sentinel):
    assert score("min_logprob", [-0.1, sentinel]) == FLOOR
    assert score("mean_logprob", [-0.1, sentinel]) == pytest.approx((-0.1 + FLOOR) / 2)
    assert score("topk_entropy", [-0.1], [[math.log(0.5), math.log(0.5), sentinel]]) == pytest.approx(
        -math.log(2)
    )


def test_what_rounding_lifted_above_zero_is_zero():
    assert score("mean_logprob", [1e-7, 0.0]) == 0.0


@pytest.mark.parametrize("name", ON_TOKENS)
def test_what_is_no_logprob_is_unmeasured(name):
    assert reason(name) == "no token logprobs"
    assert reason(name, []) == "no tokens"
    assert reason(name, [-0.1, None]) == "a token has no logprob"
    assert reason(name, [None]) == "a token has no logprob"
    assert reason(name, [-0.1, math.nan, -0.2]) == "a token's logprob is NaN"
    assert reason(name, [-math.inf, math.nan]) == "a token's logprob is NaN"
    assert reason(name, [-0.1, 0.01]) == "a token's logprob is positive"
    assert reason(name, Unmeasured("no match")) == "no match"


@given(
    st.lists(
        st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=8),
        min_size=1,
        max_size=10,
    )
)
def test_entropy_with_the_tail_as_one_outcome(places):
    """The last weight at each position is the probability of all other tokens, which servers do not show."""
    entropies, shown = [], []
    for weights in places:
        p = np.array(weights) / sum(weights)
        entropies.append(-(p * np.log(p)).sum())
        shown.append(np.log(p[:-1]).tolist())
    assert score("topk_entropy", None, shown) == pytest.approx(-np.mean(entropies), abs=1e-6)


def test_entropy_of_certainty_is_zero_and_of_four_equals_is_ln_four():
    assert score("topk_entropy", [0.0], [[0.0]]) == 0.0
    assert score("topk_entropy", [-1.0], [[math.log(0.25)] * 4]) == pytest.approx(-math.log(4))
    assert score("topk_entropy", [-1.0], [[math.log(0.25)] * 3]) == pytest.approx(-math.log(4))


def test_entropy_takes_places_of_unequal_width():
    found = score("topk_entropy", None, [[math.log(0.5)], [math.log(0.25)] * 4])
    assert found == pytest.approx(-(math.log(2) + math.log(4)) / 2)


def test_entropy_is_unmeasured_without_usable_places():
    assert reason("topk_entropy", [-0.1]) == "no top logprobs"
    assert reason("topk_entropy", None, []) == "no tokens"
    assert reason("topk_entropy", None, [[-0.1], []]) == "a token has no top logprobs"
    assert reason("topk_entropy", [-0.1], [[-0.1], [-0.1]]) == "top logprobs at 2 positions for 1 tokens"
    assert reason("topk_entropy", None, [[-0.1, math.nan]]) == "top logprobs: a token's logprob is NaN"
    assert reason("topk_entropy", None, [[-0.1, -0.1]]).endswith("sum to more than 1")
    assert reason("topk_entropy", Unmeasured("no match"), [[-0.1]]) == "no match"


def test_a_float32_softmax_may_sum_to_a_little_more_than_one():
    assert score("topk_entropy", None, [[math.log(0.5), math.log(0.5001)]]) == pytest.approx(
        -math.log(2), abs=1e-3
    )
