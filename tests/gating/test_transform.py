"""Scores to log-odds, against scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from gating.transform import LOWER, TO_LOG_ODDS, UPPER, infer_scale

RANGES = {"logprob": (-2000.0, 0.0), "probability": (0.0, 1.0), "real": (-1e9, 1e9)}


@given(st.floats(1e-300, 1 - 1e-7))
def test_probabilities_and_their_logarithms_go_to_the_logit(p):
    assert TO_LOG_ODDS["probability"](p) == pytest.approx(logit(p), rel=1e-9, abs=1e-9)
    assert TO_LOG_ODDS["logprob"](math.log(p)) == pytest.approx(logit(p), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("scale", "score", "log_odds"),
    [
        ("logprob", 0.0, UPPER),
        ("logprob", -1e-12, UPPER),
        ("logprob", -1e6, LOWER),
        ("probability", 0.0, LOWER),
        ("probability", 1.0, UPPER),
        ("real", -3.5, -3.5),
    ],
)
def test_the_ends_are_clipped(scale, score, log_odds):
    assert TO_LOG_ODDS[scale](score) == log_odds


@given(st.sampled_from(sorted(RANGES)), st.data())
def test_never_decreasing(scale, data):
    low, high = sorted(data.draw(st.tuples(*[st.floats(*RANGES[scale])] * 2)))
    assert TO_LOG_ODDS[scale](low) <= TO_LOG_ODDS[scale](high)


@pytest.mark.parametrize(
    ("values", "scale"),
    [([0.0, 1.0, 0.4], "probability"), ([-3.0, 0.0], "logprob"), ([-0.1, 0.1], "real"), ([0.2, 7.0], "real")],
)
def test_a_features_scale_is_the_narrowest_that_holds_it(values, scale):
    assert infer_scale(values) == scale
