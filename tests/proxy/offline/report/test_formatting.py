"""Formatting of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.offline.report import formatting

SIGN = "\u202f%"


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "not known"),
        (0.0, "0" + SIGN),
        (0.0001, "under 0.1" + SIGN),
        (0.0052, "0.5" + SIGN),
        (0.0934, "9.3" + SIGN),
        (0.0996, "10" + SIGN),
        (0.414, "41" + SIGN),
        (0.9949, "99" + SIGN),
        (0.9951, "99.5" + SIGN),
        (0.99999, "99.9" + SIGN),
        (1.0, "100" + SIGN),
    ],
)
def test_percent(share, said):
    assert formatting.percent(share) == said


@given(st.floats(0, 1))
def test_a_bound_is_never_said_smaller_than_it_is(bound):
    said = float(formatting.percent_at_most(bound).removesuffix(SIGN))
    assert 100 * bound <= said + 1e-6
    assert said <= 100 * bound + 0.1 + 1e-6


@pytest.mark.parametrize("bound", [0.05, 0.1, 0.2, 0.29, 0.07])
def test_a_round_bound_stays_round(bound):
    assert formatting.percent_at_most(bound) == f"{100 * bound:.0f}{SIGN}"


@given(st.floats(1e-6, 1e9))
def test_ticks_reach_the_top(top):
    found = formatting.ticks(top)
    assert found[0] == 0
    assert found[-1] >= top * (1 - 1e-9)
    assert 2 <= len(found) <= 6


def test_the_rest():
    assert formatting.interval_in_percent((0.02, 0.034)) == "2.0–3.4" + SIGN
    assert formatting.interval_in_percent((0.1, 0.3)) == "10–30" + SIGN
    assert (
        formatting.interval_in_percent(None)
        == formatting.count(None)
        == formatting.number(None)
        == "not known"
    )
    assert formatting.interval((-0.1, 0.2)) == "−0.10 to 0.20"
    assert formatting.interval(None) == ""
    assert formatting.signed(-0.5) == "−0.500"
    assert formatting.signed(None) == "not known"
    assert formatting.several(1, "answer") == "1 answer"
    assert formatting.several(1200, "answer") == "1,200 answers"
