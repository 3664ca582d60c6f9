"""Temperature, Platt and beta against other people's optimisers."""

from __future__ import annotations

import math
import timeit

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit
from sklearn.calibration import _sigmoid_calibration

from calibrators import CALIBRATORS
from calibrators.metrics import log_loss

BetaCalibrator, PlattCalibrator, TemperatureCalibrator = (
    CALIBRATORS[k] for k in ("beta", "platt", "temperature")
)


def soft(correct):
    """Platt's targets, written out."""
    right, wrong = correct.sum(), (1 - correct).sum()
    return np.where(correct == 1, (right + 1) / (right + 2), 1 / (wrong + 2))


def cross_entropy(log_odds, targets):
    return -(targets * log_expit(log_odds) + (1 - targets) * log_expit(-log_odds)).sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [20, 200, 2000])
def test_platt_is_scikit_learns(n, seed, draw):
    scores, correct = draw(n, seed)
    fitted = PlattCalibrator().fit(scores, correct)
    a, b = _sigmoid_calibration(scores, correct)
    targets = soft(correct)
    assert fitted.slope_ == pytest.approx(-a, rel=2e-3)
    assert fitted.intercept_ == pytest.approx(-b, rel=5e-3, abs=2e-3)
    ours = cross_entropy(fitted.slope_ * scores + fitted.intercept_, targets)
    assert ours <= cross_entropy(-a * scores - b, targets) + 1e-9


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_platts_held_out_log_loss_is_no_worse_than_scikit_learns(n, draw):
    ours, theirs = [], []
    for seed in range(50):
        scores, correct = draw(n + 2000, seed)
        fitted = PlattCalibrator().fit(scores[:n], correct[:n])
        a, b = _sigmoid_calibration(scores[:n], correct[:n])
        ours.append(log_loss(fitted.predict(scores[n:]), correct[n:]))
        theirs.append(log_loss(expit(-a * scores[n:] - b), correct[n:]))
    assert np.mean(ours) <= np.mean(theirs) + 1e-5


def test_platt_on_real_answers_is_no_worse_than_scikit_learns(real):
    scores, correct = real
    ours, theirs = [], []
    for seed in range(50):
        order = np.random.default_rng(seed).permutation(correct.size)
        fit, held = order[:100], order[100:]
        fitted = PlattCalibrator().fit(scores[fit], correct[fit])
        a, b = _sigmoid_calibration(scores[fit], correct[fit])
        ours.append(log_loss(fitted.predict(scores[held]), correct[held]))
        theirs.append(log_loss(expit(-a * scores[held] - b), correct[held]))
    assert np.mean(ours) <= np.mean(theirs) + 1e-5
    assert np.mean(ours) < 0.6  # the base rate alone costs 0.65


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_platt_does_not_depend_on_the_scale(scale, draw):
    scores, correct = draw(300)
    one = PlattCalibrator().fit(scores, correct)
    other = PlattCalibrator().fit(scores * scale + 3 * scale, correct)
    assert other.slope_ * scale == pytest.approx(one.slope_, rel=1e-8)
    assert other.intercept_ == pytest.approx(one.intercept_ - 3 * one.slope_, rel=1e-7)


def test_platt_with_contradicting_labels_is_the_smoothed_base_rate(draw):
    scores, correct = draw(300)
    fitted = PlattCalibrator().fit(scores, 1 - correct)
    assert fitted.slope_ == 0
    assert fitted.predict_one(1.0) == pytest.approx(soft(1 - correct).mean())


def test_separable_labels_keep_a_finite_slope():
    for kind in (PlattCalibrator, BetaCalibrator, TemperatureCalibrator):
        fitted = kind().fit([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1])
        assert 0.7 < fitted.predict_one(2.0) < 0.95


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [10, 100, 3000])
def test_temperature_is_scipys_minimum(n, seed, draw):
    scores, correct = draw(n, seed)
    targets = soft(correct)
    best = minimize_scalar(
        lambda u: cross_entropy(scores * math.exp(u), targets), bounds=(-8, 8), options={"xatol": 1e-10}
    )
    fitted = TemperatureCalibrator().fit(scores, correct)
    assert cross_entropy(scores / fitted.temperature_, targets) <= best.fun + 1e-9
    assert fitted.temperature_ == pytest.approx(math.exp(-best.x), rel=1e-3)


def test_temperature_of_overconfident_log_odds(draw):
    scores, correct = draw(50_000, slope=1.0, offset=0.0)
    assert TemperatureCalibrator().fit(3 * scores, correct).temperature_ == pytest.approx(3, rel=0.03)


def test_temperature_at_its_ends():
    assert TemperatureCalibrator().fit([0.0, 0.0], [0, 1]).temperature_ == 1
    against = TemperatureCalibrator().fit([-1.0, 1.0], [1, 0])
    assert against.temperature_ == pytest.approx(1000)
    assert against.predict_one(1.0) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("slope", "offset"), [(0.7, -0.5), (-0.3, 0.0), (0.1, 2.0)])
def test_beta_is_scipys_constrained_minimum(seed, slope, offset, draw):
    scores, correct = draw(150, seed, slope, offset)
    targets = soft(correct)

    def loss(point):
        a, b, c = point
        return cross_entropy(a * log_expit(scores) - b * log_expit(-scores) + c, targets)

    best = minimize(loss, [0.5, 0.5, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
    fitted = BetaCalibrator().fit(scores, correct)
    assert min(fitted.a_, fitted.b_) >= 0
    assert loss([fitted.a_, fitted.b_, fitted.c_]) <= best.fun + 1e-6
    p = expit(fitted.a_ * log_expit(scores) - fitted.b_ * log_expit(-scores) + fitted.c_)
    np.testing.assert_allclose(fitted.predict(scores), p, rtol=1e-12)


def test_beta_with_equal_slopes_is_platts_curve(draw):
    scores, correct = draw(20_000)
    beta, platt = BetaCalibrator().fit(scores, correct), PlattCalibrator().fit(scores, correct)
    np.testing.assert_allclose(beta.predict(scores), platt.predict(scores), atol=0.02)


def test_beta_does_not_extend_a_feature_that_hardly_varied(draw):
    """Log-probabilities of long answers: p is nearly 0, where ln(1 − p) says nothing."""
    scores, correct = draw(300)
    fitted = BetaCalibrator().fit(scores * 10 - 200, correct)
    assert fitted.b_ == 0
    assert fitted.predict_one(-200.0) == pytest.approx(
        PlattCalibrator().fit(scores, correct).predict_one(0.0), abs=1e-6
    )


@pytest.mark.parametrize("kind", [TemperatureCalibrator, PlattCalibrator, BetaCalibrator])
def test_scores_beyond_the_bound_are_read_as_the_bound(kind, draw):
    fitted = kind().fit(*draw(100))
    assert fitted.bound_ == 37
    assert fitted.predict_one(1e9) == fitted.predict_one(37.0) == fitted.predict_one(math.inf)
    assert fitted.predict_one(-1e9) == fitted.predict_one(-37.0) == fitted.predict_one(-math.inf)
    assert kind().fit([-400.0, 1.0], [0, 1]).bound_ == 400


@pytest.mark.parametrize("kind", [TemperatureCalibrator, PlattCalibrator, BetaCalibrator])
def test_one_prediction_is_quick(kind, draw):
    """The hot path's budget is 2 µs; five times that here, for a busy machine."""
    fitted = kind().fit(*draw(100))
    assert min(timeit.repeat(lambda: fitted.predict_one(0.3), number=2000, repeat=20)) / 2000 < 10e-6


@pytest.mark.parametrize("n", [2, 1_000_000])
def test_two_levels_are_enough_for_beta_and_not_too_many_labels(n):
    """On two levels the two features of beta calibration are collinear, so the Hessian is singular."""
    scores, correct = np.repeat([-1.0, 1.0], n // 2), np.resize([1, 0, 0, 0], n)
    correct[n // 2 :] = 1 - correct[n // 2 :]
    fitted = BetaCalibrator().fit(scores, correct)
    assert fitted.predict_one(1.0) == pytest.approx(
        PlattCalibrator().fit(scores, correct).predict_one(1.0), abs=1e-6
    )
