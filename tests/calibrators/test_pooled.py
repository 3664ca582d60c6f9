"""Isotonic, histogram and Venn-Abers against scikit-learn, venn-abers, and their definitions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from venn_abers import VennAbers

from calibrators import CALIBRATORS, CalibrationError

HistogramCalibrator, IsotonicCalibrator, VennAbersCalibrator = (
    CALIBRATORS[k] for k in ("histogram", "isotonic", "venn_abers")
)

tied_rows = st.lists(
    st.tuples(st.integers(-5, 5), st.booleans(), st.floats(0.1, 10)), min_size=1, max_size=40
)


@pytest.mark.parametrize("digits", [0, 1, None])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 3000])
def test_isotonic_is_scikit_learns(n, digits, draw):
    scores, correct = draw(n, digits=digits)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, correct)
    grid = np.concatenate([scores, np.linspace(-9, 9, 500)])
    expected = np.clip(theirs.predict(grid), 1 / (n + 2), (n + 1) / (n + 2))
    fitted = IsotonicCalibrator().fit(scores, correct)
    # Ours cuts the knots and theirs is cut after the fact, which differs only on the slopes to the outermost.
    between = (expected > 1 / (n + 2)) & (expected < (n + 1) / (n + 2))
    np.testing.assert_allclose(fitted.predict(scores), expected[:n], atol=1e-12)
    np.testing.assert_allclose(fitted.predict(grid)[~between], expected[~between], atol=1.1 / (n + 2))
    np.testing.assert_allclose(fitted.predict(grid)[between], expected[between], atol=1.1 / (n + 2))


@settings(deadline=None, max_examples=80)
@given(tied_rows)
def test_isotonic_with_weights_is_scikit_learns(rows):
    scores, correct, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    n = weights.sum() ** 2 / np.square(weights).sum()
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, correct, weights).predict(scores)
    fitted = IsotonicCalibrator().fit(scores, correct, weights)
    np.testing.assert_allclose(
        fitted.predict(scores), np.clip(theirs, 1 / (n + 2), (n + 1) / (n + 2)), atol=1e-9
    )


def test_isotonic_draws_straight_lines_between_blocks():
    fitted = IsotonicCalibrator().fit([0.0, 0.0, 1.0, 1.0], [0, 1, 1, 1])
    assert fitted.predict([-5.0, 0.0, 0.5, 1.0, 5.0]).tolist() == pytest.approx(
        [0.5, 0.5, 2 / 3, 5 / 6, 5 / 6]
    )


def test_histogram_counts_its_bins():
    scores = np.repeat(np.arange(4.0), 20)
    correct = np.concatenate([np.r_[np.ones(k), np.zeros(20 - k)] for k in (2, 8, 14, 18)])
    fitted = HistogramCalibrator().fit(scores, correct)
    assert fitted.edges_ == (1.0, 2.0, 3.0)
    assert fitted.values_ == pytest.approx([2.5 / 21, 8.5 / 21, 14.5 / 21, 18.5 / 21])
    # The gap below an edge belongs to the lower bin: a score must reach what was seen to be better.
    assert fitted.predict_one(0.999) == fitted.predict_one(0.0) < fitted.predict_one(1.0)


def test_histogram_pools_bins_that_fall():
    scores = np.repeat(np.arange(3.0), 20)
    correct = np.concatenate([np.r_[np.ones(k), np.zeros(20 - k)] for k in (4, 16, 10)])
    fitted = HistogramCalibrator().fit(scores, correct)
    assert fitted.edges_ == (1.0,)
    assert fitted.values_ == pytest.approx([4.5 / 21, 27 / 42])


def test_histogram_has_a_bin_for_twenty_labels(draw):
    assert HistogramCalibrator().fit(*draw(39)).edges_ == ()
    assert len(HistogramCalibrator().fit(*draw(4000)).values_) <= 20
    assert len(HistogramCalibrator(max_bins=3).fit(*draw(4000)).values_) == 3
    with pytest.raises(CalibrationError, match="max_bins is 0"):
        HistogramCalibrator(max_bins=0)


def test_histogram_never_splits_a_tie():
    scores = [0.0] * 500 + [1.0] * 20
    fitted = HistogramCalibrator().fit(scores, [0] * 400 + [1] * 120)
    assert fitted.edges_ == (1.0,)
    assert fitted.values_ == pytest.approx([100.5 / 501, 20.5 / 21])


def by_definition(scores, correct, weights, asked):
    """(p0, p1) of Vovk & Petej: an isotonic fit for each label that the asked score might have."""
    scaled = weights * weights.sum() / np.square(weights).sum()
    pair = []
    for label in (0.0, 1.0):
        fit = IsotonicRegression().fit(np.r_[scores, asked], np.r_[correct, label], np.r_[scaled, 1.0])
        pair.append(float(fit.predict([asked])[0]))
    return pair


@pytest.mark.parametrize("weighted", [False, True])
@settings(deadline=None, max_examples=30)
@given(rows=tied_rows)
def test_venn_abers_is_its_definition(weighted, rows):
    scores, correct, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if not weighted:
        weights = np.ones_like(weights)
    fitted = VennAbersCalibrator().fit(scores, correct, weights if weighted else None)
    asked = np.concatenate([np.unique(scores), np.arange(-6, 7) + 0.5])
    expected = np.array([by_definition(scores, correct, weights, one) for one in asked])
    p0, p1 = fitted.interval(asked)
    np.testing.assert_allclose(p0, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(p1, expected[:, 1], atol=1e-9)
    assert (p0 < p1).all()
    np.testing.assert_allclose(fitted.predict(asked), p1 / (1 - p0 + p1), rtol=1e-12)


# With few labels the package warns of empty slices; the definition above covers those.
@pytest.mark.parametrize("n", [300, 3000])
def test_venn_abers_is_the_packages(n, draw):
    scores, correct = draw(n)
    asked, _ = draw(500, seed=9)
    theirs = VennAbers()
    theirs.fit(np.column_stack([expit(-scores), expit(scores)]), correct)
    p, pair = theirs.predict_proba(np.column_stack([expit(-asked), expit(asked)]))
    fitted = VennAbersCalibrator().fit(scores, correct)
    p0, p1 = fitted.interval(asked)
    np.testing.assert_allclose(p0, pair[:, 0], atol=1e-9)
    np.testing.assert_allclose(p1, pair[:, 1], atol=1e-9)
    np.testing.assert_allclose(fitted.predict(asked), p[:, 1], atol=1e-9)


def test_the_venn_abers_interval_narrows_with_labels(draw):
    widths = []
    for n in (50, 500, 5000):
        p0, p1 = VennAbersCalibrator().fit(*draw(n)).interval(np.linspace(-2, 2, 50))
        widths.append((p1 - p0).mean())
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("kind", [IsotonicCalibrator, HistogramCalibrator, VennAbersCalibrator])
def test_many_labels_are_fitted_in_linear_time(kind, draw):
    """200,000 distinct scores; a quadratic fit would take minutes."""
    scores, correct = draw(200_000)
    begun = time.process_time()
    kind().fit(scores, correct)
    assert time.process_time() - begun < 5
