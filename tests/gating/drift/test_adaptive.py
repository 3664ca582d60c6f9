from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.drift import tightened
from gating.types import GatingError

FLOOR, ALPHA, STEP = 0.6, 0.1, 0.05


def after(labels, threshold=FLOOR):
    for wrong in labels:
        threshold = tightened(threshold, wrong, target_risk=ALPHA, certified=FLOOR, step=STEP)
    return threshold


def test_the_step():
    assert after([True]) == pytest.approx(FLOOR + STEP * (1 - ALPHA))
    assert after([True, False]) == pytest.approx(FLOOR + STEP * (1 - 2 * ALPHA))


@given(st.lists(st.booleans(), max_size=100))
def test_it_never_loosens_below_the_certified_threshold(labels):
    assert FLOOR <= after(labels) <= 1.0


def test_it_comes_back():
    assert after([True] * 5 + [False] * 100) == FLOOR


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_the_long_run(labels):
    """The bound holds for any labels; at threshold 1 no answer is served, so there are no labels."""
    threshold, seen, wrong = FLOOR, 0, 0
    for fails in labels:
        if threshold < 1.0:
            seen, wrong = seen + 1, wrong + fails
            threshold = after([fails], threshold)
    assert wrong <= ALPHA * seen + (1 - FLOOR + STEP) / STEP + 1e-9


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": math.nan},
        {"threshold": 1.2},
        {"certified": -0.1},
        {"target_risk": 0},
        {"step": 0},
        {"step": math.nan},
        {"step": 2},
    ],
)
def test_numbers_out_of_range_are_refused(change):
    given_ = {"threshold": 0.7, "target_risk": 0.1, "certified": 0.6, "step": 0.1} | change
    with pytest.raises(GatingError, match=r"threshold|target risk|step"):
        tightened(given_.pop("threshold"), True, **given_)
