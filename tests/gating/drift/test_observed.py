from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gating.drift import observed_risk
from gating.types import GatingError, RiskEstimate


def test_equal_propensities_give_the_counts_and_the_exact_interval():
    wrong, served = np.r_[np.ones(7), np.zeros(93)], np.r_[np.ones(80), np.zeros(20)]
    for propensity in (None, np.full(100, 0.05)):
        found = observed_risk(wrong, served, propensity)
        assert found.counts == RiskEstimate(7, 80, 100)
        assert found.risk == pytest.approx(7 / 80)
        assert found.coverage == pytest.approx(0.8)
        assert found.effective == pytest.approx(80)
        exact = stats.binomtest(7, 80).proportion_ci(0.9, method="exact")
        assert (found.low, found.high) == pytest.approx(tuple(exact), abs=1e-9)


def test_weights_undo_an_unequal_draw():
    """Wrong answers drawn five times as often: 5 % would look like 20.8 %."""
    wrong = np.r_[np.ones(250), np.zeros(950)]
    found = observed_risk(wrong, np.ones(1200), np.where(wrong == 1, 0.5, 0.1))
    assert found.counts.risk == pytest.approx(0.208, abs=0.001)
    assert found.risk == pytest.approx(0.05)
    assert found.effective < 1200


def test_the_interval_covers():
    """At 1 − delta = 0.9 over 400 draws with propensities that go with the risk."""
    rng = np.random.default_rng(2)
    risk, chance = np.array([0.3, 0.05]), np.array([0.6, 0.2])
    covered = 0
    for _ in range(400):
        kind = (rng.random(600) < 0.7).astype(int)
        drawn = rng.random(600) < chance[kind]
        wrong = rng.random(600) < risk[kind]
        found = observed_risk(wrong[drawn], np.ones(drawn.sum()), chance[kind][drawn])
        covered += found.low <= 0.3 * 0.3 + 0.7 * 0.05 <= found.high
    assert covered / 400 >= 0.86  # 0.9 less two and a half standard errors


@pytest.mark.parametrize("served", [[], [0, 0]])
def test_nothing_served_is_no_risk(served):
    found = observed_risk([0] * len(served), served)
    assert (found.risk, found.low, found.high, found.effective) == (None, 0.0, 1.0, 0.0)
    assert found.coverage == (0.0 if served else None)


def test_extremes_stay_in_range():
    assert observed_risk([1, 1], [1, 1]).high == 1.0
    assert observed_risk([0, 0], [1, 1]).low == 0.0
    assert observed_risk([1, 0, 0], [1, 1, 1], [1.0, 0.01, 0.01]).risk < 0.01


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([1], [1, 0]), "one of each"),
        (([1], [1], [0.5, 0.5]), "one of each"),
        (([2], [1]), "wrong"),
        (([1], [0.5]), "served"),
        (([1], [1], [0.0]), "propensity"),
        (([1], [1], [1.5]), "propensity"),
        (([1], [1], [math.nan]), "propensity"),
        (([1], [1], None, 1.0), "delta"),
    ],
)
def test_bad_input_is_refused(arguments, named):
    with pytest.raises(GatingError, match=named):
        observed_risk(*arguments)
