"""Several scores as one, against scikit-learn and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from gating import SCORERS, Evidence, GatingError, Unmeasured
from gating.combine import Logistic, Reading, Single, Term
from gating.logistic import fit_logistic
from gating.scorers import FeatureScorer

A, B = FeatureScorer("a"), FeatureScorer("b", "probability")


def rows_and_labels(n=200, seed=0):
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.5
    first = rng.normal(size=n) * 3 + correct
    second = 1 / (1 + np.exp(-(rng.normal(size=n) + 0.5 * correct)))
    return np.column_stack([first, second]), correct.astype(float)


def evidence(**features):
    return Evidence("Paris", features=features)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("l2", [0.1, 1.0, 30.0])
def test_unconstrained_it_is_scikit_learns_regression(seed, l2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(150, 3))
    y = (rng.random(150) < 1 / (1 + np.exp(-(X @ [1.0, -2.0, 0.2] - 1.5)))).astype(float)
    bias, weights = fit_logistic(X, y, l2=l2, monotone=np.zeros(3, dtype=bool))
    theirs = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=1000).fit(X, y)
    assert weights == pytest.approx(theirs.coef_[0], abs=1e-5)
    assert bias == pytest.approx(theirs.intercept_[0], abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_constrained_it_is_scipys_minimum(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(120, 4)) @ rng.normal(size=(4, 4))  # correlated
    y = (rng.random(120) < 1 / (1 + np.exp(-X @ rng.normal(size=4)))).astype(float)
    monotone = np.array([True, True, True, False])
    sign = 2 * y - 1

    def loss(w):
        return np.logaddexp(0, -sign * (w[0] + X @ w[1:])).sum() + 0.5 * (w[1:] ** 2).sum()

    bounds = [(None, None), *[(0, None) if held else (None, None) for held in monotone]]
    theirs = minimize(
        loss, np.zeros(5), bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}
    )
    bias, weights = fit_logistic(X, y, l2=1.0, monotone=monotone)
    assert (weights[monotone] >= 0).all()
    assert loss(np.concatenate([[bias], weights])) <= theirs.fun + 1e-7
    assert weights == pytest.approx(theirs.x[1:], abs=2e-3)


def test_separable_and_extreme_data_stay_finite():
    X = np.array([[-1e3], [-1.0], [1.0], [1e3]])
    bias, weights = fit_logistic(X, np.array([0.0, 0, 1, 1]), l2=1.0, monotone=np.array([True]))
    assert math.isfinite(bias)
    assert 0 < weights[0] < 100


@pytest.mark.parametrize(
    ("X", "y", "l2", "message"),
    [
        ([[1.0], [2.0]], [1.0, 1.0], 1.0, "both 0"),
        ([[1.0], [2.0]], [0.0, 0.5], 1.0, "both 0"),
        ([[1.0], [math.inf]], [0.0, 1.0], 1.0, "not finite"),
        ([[1.0], [2.0]], [0.0, 1.0], 0.0, "l2"),
    ],
)
def test_what_cannot_be_fitted_is_refused(X, y, l2, message):
    with pytest.raises(GatingError, match=message):
        fit_logistic(np.array(X), np.array(y), l2=l2, monotone=np.array([True]))


def test_one_scorer_stands_as_it_is():
    single = Single(SCORERS["mean_logprob"])
    found = single.read(Evidence("Paris", token_logprobs=[math.log(0.8)]))
    assert found == Reading(pytest.approx(math.log(0.8)), pytest.approx(math.log(4)))
    assert single.read(Evidence("Paris")) == Unmeasured("no token logprobs")
    assert single.scorers == (SCORERS["mean_logprob"],)


def test_several_are_the_regression_on_standardised_log_odds():
    rows, correct = rows_and_labels()
    fitted = Logistic.fit([A, B], rows.tolist(), correct)
    log_odds = np.column_stack([rows[:, 0], np.log(rows[:, 1] / (1 - rows[:, 1]))])
    standard = (log_odds - log_odds.mean(axis=0)) / log_odds.std(axis=0)
    theirs = LogisticRegression(tol=1e-10).fit(standard, correct)
    for row, wanted in zip(rows[:20], theirs.decision_function(standard[:20]), strict=True):
        found = fitted.read(evidence(a=row[0], b=row[1]))
        assert found.score == found.log_odds == pytest.approx(wanted, abs=1e-4)


def test_a_scorer_that_misleads_gets_no_weight():
    rows, correct = rows_and_labels()
    fitted = Logistic.fit([A, B], (rows * [-1, 1]).tolist(), correct)
    assert fitted.terms[0].weight == 0
    assert fitted.terms[1].weight > 0


def test_a_constant_scorer_is_harmless():
    rows, correct = rows_and_labels()
    fitted = Logistic.fit([A, B], (rows * [0, 1]).tolist(), correct)
    assert fitted.terms[0].weight == 0


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(-10, 10), st.floats(0, 10), st.floats(0.01, 0.99))
def test_never_decreasing_in_any_scorer(seed, value, rise, other):
    rows, correct = rows_and_labels(40, seed)
    correct[:2] = 0, 1
    fitted = Logistic.fit([A, B], rows.tolist(), correct)
    low = fitted.read(evidence(a=value, b=other)).score
    assert fitted.read(evidence(a=value + rise, b=other)).score >= low


def test_what_is_missing_is_worth_what_it_was_in_the_fit():
    """Answers without b were mostly wrong; and b is a coin toss."""
    rng = np.random.default_rng(1)
    correct = (rng.random(300) < 0.5).astype(float)
    lacks = rng.random(300) < np.where(correct, 0.1, 0.7)
    rows = [
        [float(a), Unmeasured("no feature b") if gap else 0.5]
        for a, gap in zip(rng.normal(size=300) + correct, lacks, strict=True)
    ]
    fitted = Logistic.fit([A, B], rows, correct)
    assert fitted.terms[0].missing is None
    assert fitted.terms[1].missing < -1
    with_b, without = fitted.read(evidence(a=0.0, b=0.5)), fitted.read(evidence(a=0.0))
    assert without.score == pytest.approx(with_b.score + fitted.terms[1].missing)


def test_unmeasured_where_nothing_is_known():
    fitted = Logistic((A, B), 0.0, (Term(1.0, 0.0, None), Term(1.0, 0.0, 0.5)))
    assert fitted.read(evidence(b=0.5)) == Unmeasured("no feature a")  # never missing in the fit
    both = Logistic((A, B), 0.0, (Term(1.0, 0.0, -0.5), Term(1.0, 0.0, 0.5)))
    assert isinstance(both.read(evidence()), Unmeasured)
    assert both.read(evidence(a=2.0)) == Reading(2.5, 2.5)


def test_rows_that_are_not_the_scorers_are_refused():
    with pytest.raises(GatingError, match=r"rows must be \(2, 2\), not \(2, 1\)"):
        Logistic.fit([A, B], [[1.0], [2.0]], [0, 1])


def test_terms_that_are_not_the_scorers_or_not_monotone_are_refused():
    with pytest.raises(GatingError, match="1 terms for 2 scorers"):
        Logistic((A, B), 0.0, (Term(1.0, 0.0, None),))
    with pytest.raises(GatingError, match="0 terms for 0 scorers"):
        Logistic((), 0.0, ())
    for weight in (-0.1, math.nan):
        with pytest.raises(GatingError, match="weight must be >= 0"):
            Term(weight, 0.0, None)


def test_no_answer_within_the_steps_is_an_error(monkeypatch):
    monkeypatch.setattr("gating.logistic._STEPS", 1)
    rows, correct = rows_and_labels()
    with pytest.raises(GatingError, match="does not converge"):
        Logistic.fit([A, B], rows.tolist(), correct)


def test_rare_and_separate_labels_are_found_too():
    """From a flat start whole Newton steps overshoot here."""
    X, y = np.zeros((1000, 1)), np.zeros(1000)
    X[:10], y[:5] = 1.0, 1.0
    bias, weights = fit_logistic(X, y, l2=1e-3, monotone=np.array([True]))
    theirs = LogisticRegression(C=1e3, tol=1e-12, max_iter=10_000).fit(X, y)
    assert weights == pytest.approx(theirs.coef_[0], rel=1e-3)
    assert bias == pytest.approx(theirs.intercept_[0], rel=1e-3)
