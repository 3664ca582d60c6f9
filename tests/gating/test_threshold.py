"""Where thresholds stand, and what is refused before any is set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.threshold import Labelled, candidate_thresholds, checked_scores, threshold_for_cost
from gating.types import GatingError

INF = math.inf


@pytest.mark.parametrize(("cost", "threshold"), [(0, 0.0), (1, 0.5), (3, 0.75), (9, 0.9)])
def test_costs_of_kalai_et_al(cost: float, threshold: float) -> None:
    assert threshold_for_cost(cost) == threshold


@pytest.mark.parametrize("cost", [-1, INF, math.nan])
def test_impossible_costs_are_refused(cost: float) -> None:
    with pytest.raises(GatingError, match="wrong cost"):
        threshold_for_cost(cost)


def test_thresholds_stand_midway_and_the_last_answers_all() -> None:
    assert candidate_thresholds(np.array([3.0, 1.0, 1.0, 2.0])).tolist() == [2.5, 1.5, 0.5]


def test_a_grid_has_equal_steps_of_coverage() -> None:
    scores = np.arange(1000.0)
    thresholds = candidate_thresholds(scores, size=4)
    assert [(scores >= t).sum() for t in thresholds] == [250, 500, 750, 1000]


def test_scores_that_differ_in_their_last_bits_are_one() -> None:
    total = 0.1 + 0.2
    assert total != 0.3
    thresholds = candidate_thresholds(np.array([0.3, total, 0.5]))
    assert len(thresholds) == 2
    assert thresholds[0] == pytest.approx(0.4)


def test_infinite_scores() -> None:
    assert candidate_thresholds(np.array([-INF, 1.0, INF])).tolist() == [1.5, 0.5]
    assert candidate_thresholds(np.array([INF, INF])).tolist() == [0.5]
    assert candidate_thresholds(np.array([-INF, -INF])).tolist() == []
    assert candidate_thresholds(np.array([])).tolist() == []


def test_scores_at_the_end_of_the_range_keep_thresholds_finite() -> None:
    largest = np.finfo(np.float64).max
    thresholds = candidate_thresholds(np.array([-INF, -largest, 0.0, largest, INF]))
    assert np.isfinite(thresholds).all()
    assert thresholds[0] == largest / 2


@given(st.lists(st.floats(allow_nan=False), max_size=30), st.integers(1, 12))
def test_thresholds_are_finite_few_and_descending(scores: list[float], size: int) -> None:
    thresholds = candidate_thresholds(np.array(scores, dtype=np.float64), size)
    assert len(thresholds) <= size
    assert np.isfinite(thresholds).all()
    assert (np.diff(thresholds) < 0).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_recomputed_scores_get_the_same_verdicts(scores: list[float]) -> None:
    values = np.array(scores)
    nudged = values * (1 + 1e-12)
    for threshold in candidate_thresholds(values):
        assert ((values >= threshold) == (nudged >= threshold)).all()


def test_counts_above_a_threshold() -> None:
    labelled = Labelled.of([0.1, 0.9, 0.5, 0.5], [False, True, True, False], "test")
    errors, answered = labelled.above(np.array([1.0, 0.7, 0.5, 0.0]))
    assert errors.tolist() == [0, 0, 1, 2]
    assert answered.tolist() == [0, 1, 3, 4]
    assert sorted(labelled.correct.tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("scores", "correct", "message"),
    [
        ([0.1, math.nan], [1, 0], "x: score 1 is NaN"),
        ([0.1, 0.2], [1], "x: 2 scores but 1 labels"),
        ([0.1, 0.2], [1, 2], "x: label 1 is 2"),
        ([0.1, 0.2], [1, math.nan], "x labels: score 1 is NaN"),
        ([[0.1]], [1], "x: scores must be one list"),
        (["high"], [1], "x: scores must be numbers"),
    ],
)
def test_bad_rows_are_named(scores: list[float], correct: list[float], message: str) -> None:
    with pytest.raises(GatingError, match=message):
        Labelled.of(scores, correct, "x")


def test_infinities_are_scores() -> None:
    assert checked_scores([-INF, INF], "x").tolist() == [-INF, INF]
