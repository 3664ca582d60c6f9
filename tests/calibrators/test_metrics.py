"""The measures against scikit-learn, brute force and the papers' own numbers."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from calibrators import CalibrationError, metrics

ON_LABELS = [
    metrics.brier,
    metrics.brier_skill,
    metrics.log_loss,
    metrics.brier_decomposition,
    metrics.ece,
    metrics.smooth_ece,
    metrics.auroc,
    metrics.auroc_interval,
    metrics.risk_coverage,
    metrics.aurc,
    metrics.excess_aurc,
    metrics.prediction_rejection_ratio,
    lambda p, y: metrics.coverage_at_risk(p, y, 0.1),
    lambda p, y: metrics.risk_at_coverage(p, y, 0.5),
    lambda p, y: metrics.score_at_cost(p, y, 3),
    lambda p, y: metrics.score_at_target(p, y, 0.75),
]

pairs = st.lists(st.tuples(st.integers(0, 8).map(lambda i: i / 8), st.booleans()), min_size=1, max_size=40)


def columns(pairs):
    return (np.array(column, dtype=float) for column in zip(*pairs, strict=True))


@pytest.fixture
def calibrated():
    rng = np.random.default_rng(0)
    p = rng.beta(1, 1, 2000)
    return p, (rng.random(2000) < p).astype(float)


@pytest.mark.parametrize("measure", ON_LABELS)
def test_nothing_is_none(measure):
    assert measure([], []) is None


@pytest.mark.parametrize("measure", ON_LABELS)
@settings(deadline=None, max_examples=25)
@given(pairs)
def test_never_nan(measure, pairs):
    p, y = columns(pairs)
    found = measure(p, y)
    if isinstance(found, float):
        assert math.isfinite(found)
    for one in found if isinstance(found, tuple) else ():
        assert 0 <= one <= 1


@pytest.mark.parametrize("measure", ON_LABELS)
def test_bad_rows_are_refused_by_place(measure):
    with pytest.raises(CalibrationError, match=r"\[1\] is NaN"):
        measure([0.1, math.nan], [0, 1])
    with pytest.raises(CalibrationError, match=r"correct\[0\] is 3"):
        measure([0.1, 0.2], [3, 1])
    with pytest.raises(CalibrationError, match="labels for"):
        measure([0.1, 0.2], [1])


def test_confidences_are_probabilities():
    for measure in (metrics.brier, metrics.log_loss, metrics.ece, metrics.smooth_ece):
        with pytest.raises(CalibrationError, match=r"confidence\[1\] is 1.5"):
            measure([0.1, 1.5], [0, 1])


# Proper scores


def test_brier_and_log_loss_are_scikit_learns(calibrated):
    p, y = calibrated
    weights = np.random.default_rng(1).uniform(1, 5, p.size)
    assert metrics.brier(p, y) == pytest.approx(brier_score_loss(y, p))
    assert metrics.brier(p, y, weights) == pytest.approx(brier_score_loss(y, p, sample_weight=weights))
    assert metrics.log_loss(p, y) == pytest.approx(sklearn_log_loss(y, p))
    assert metrics.log_loss(p, y, weights) == pytest.approx(sklearn_log_loss(y, p, sample_weight=weights))
    rate = np.average(y, weights=weights)
    base = brier_score_loss(y, np.full(p.size, rate), sample_weight=weights)
    assert metrics.brier_skill(p, y, weights) == pytest.approx(1 - metrics.brier(p, y, weights) / base)


def test_a_certain_error_costs_a_finite_amount():
    assert metrics.log_loss([1.0], [0]) == pytest.approx(-math.log(1e-15), rel=1e-3)


def test_skill_of_the_base_rate_is_none_and_of_one_class_undefined():
    assert metrics.brier_skill([0.5, 0.5], [0, 1]) == pytest.approx(0)
    assert metrics.brier_skill([0.9, 0.8], [1, 1]) is None


@settings(deadline=None)
@given(pairs)
def test_murphys_parts_add_up(pairs):
    p, y = columns(pairs)
    parts = metrics.brier_decomposition(p, y)
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(parts.brier)
    assert parts.within == pytest.approx(0, abs=1e-12)  # nine distinct confidences, fifteen bins
    assert parts.reliability == pytest.approx(
        sum((p == one).mean() * (one - y[p == one].mean()) ** 2 for one in np.unique(p))
    )


def test_murphys_parts_over_bins(calibrated):
    parts = metrics.brier_decomposition(*calibrated, bins=10)
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(
        parts.brier
    )
    assert parts.resolution > 0.05 > parts.reliability
    assert abs(parts.within) < 0.01


# Calibration


def test_ece_by_hand():
    p = np.repeat([0.2, 0.6, 0.9], 10)
    y = np.r_[np.ones(3), np.zeros(7), np.ones(6), np.zeros(4), np.ones(7), np.zeros(3)]
    assert metrics.ece(p, y) == pytest.approx((0.1 + 0 + 0.2) / 3)
    diagram = metrics.reliability(p, y)
    assert [rows for _, _, rows in diagram] == [10, 10, 10]
    assert [(round(mean, 9), round(share, 9)) for mean, share, _ in diagram] == [
        (0.2, 0.3),
        (0.6, 0.6),
        (0.9, 0.7),
    ]
    assert metrics.reliability([], []) == []


def test_bins_have_equal_mass_and_keep_ties(calibrated):
    counts = [rows for _, _, rows in metrics.reliability(*calibrated, bins=8)]
    assert counts == [250] * 8
    p = np.r_[np.full(1000, 0.5), np.linspace(0.6, 0.9, 100)]
    assert metrics.reliability(p, np.zeros(1100), bins=10)[0][2] == 1000
    with pytest.raises(CalibrationError, match="bins is 0"):
        metrics.ece(*calibrated, bins=0)


@pytest.mark.parametrize("n", [100, 1000])
def test_the_noise_floor_is_eces_mean_under_calibration(n):
    rng = np.random.default_rng(0)
    p = rng.beta(2, 1, n)
    drawn = [metrics.ece(p, rng.random(n) < p) for _ in range(300)]
    assert metrics.ece_noise_floor(p) == pytest.approx(np.mean(drawn), rel=0.06)
    assert metrics.ece_noise_floor([]) is None
    assert metrics.ece_noise_floor([0.0, 1.0]) == 0


def reflected_smooth_ece(p, y, width):
    """smECE_σ by the formula: images of every residual at 2k ± p, integrated on a grid."""
    t = (np.arange(4000) + 0.5) / 4000
    kernel = 0
    for k in range(-4, 5):
        for image in (2 * k + p, 2 * k - p):
            kernel = kernel + np.exp(-((t[:, None] - image) ** 2) / (2 * width**2)) / (
                width * math.sqrt(2 * math.pi)
            )
    return np.abs(kernel @ (y - p) / p.size).mean()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_smooth_ece_is_the_fixed_point_of_its_formula(power):
    rng = np.random.default_rng(0)
    p = rng.beta(1, 1, 300)
    y = (rng.random(300) < p**power).astype(float)
    found = metrics.smooth_ece(p, y)
    assert reflected_smooth_ece(p, y, found) == pytest.approx(found, abs=2e-4)


def test_smooth_ece_of_known_cases():
    assert metrics.smooth_ece([0.5, 0.5], [0, 1]) == pytest.approx(0, abs=1e-9)
    # Residuals of one sign at one place keep their mass whatever the bandwidth.
    assert metrics.smooth_ece(np.full(10, 0.9), np.r_[np.ones(5), np.zeros(5)]) == pytest.approx(
        0.4, abs=1e-6
    )
    assert metrics.smooth_ece([1.0], [0]) == pytest.approx(1, abs=1e-6)


# Ranking


@settings(deadline=None)
@given(pairs)
def test_auroc_is_scikit_learns(pairs):
    p, y = columns(pairs)
    if y.min() == y.max():
        assert metrics.auroc(p, y) is None
        assert metrics.auroc_interval(p, y) is None
    else:
        assert metrics.auroc(p, y) == pytest.approx(roc_auc_score(y, p))
        low, high = metrics.auroc_interval(p, y)
        assert 0 <= low <= metrics.auroc(p, y) <= high <= 1
        mirrored = metrics.auroc_interval(-p, y)
        assert mirrored == pytest.approx((1 - high, 1 - low))


def test_auroc_takes_any_scale():
    assert metrics.auroc([-math.inf, -400.0, 3.0, math.inf], [0, 0, 1, 1]) == 1


def test_a_perfect_auroc_has_an_interval_with_a_width():
    low, high = metrics.auroc_interval([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    assert high == pytest.approx(1)
    assert 0.3 < low < 0.8


def test_the_interval_covers():
    """Normal scores a standard deviation apart: the truth is Φ(1/√2) = 0.7602."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        y = np.r_[np.ones(40), np.zeros(60)]
        low, high = metrics.auroc_interval(rng.normal(y, 1), y)
        covered += low <= 0.76025 <= high
    assert 0.92 <= covered / 400 <= 0.985
    with pytest.raises(CalibrationError, match="level is 1"):
        metrics.auroc_interval([0.1, 0.2], [0, 1], level=1)


# Selective prediction


def test_the_curve_groups_ties():
    curve = metrics.risk_coverage([0.9, 0.9, 0.5, 0.1], [1, 0, 1, 0])
    assert curve.thresholds.tolist() == [0.9, 0.5, 0.1]
    assert curve.answered.tolist() == [2, 3, 4]
    assert curve.errors.tolist() == [1, 1, 2]
    assert curve.coverage.tolist() == [0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2])


@settings(deadline=None, max_examples=20)
@given(pairs)
def test_aurc_is_the_mean_over_orders_of_the_ties(pairs):
    p, y = columns(pairs)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(600):
        order = np.lexsort([rng.random(p.size), -p])
        areas.append(np.mean(np.cumsum(1 - y[order]) / np.arange(1, p.size + 1)))
    assert metrics.aurc(p, y) == pytest.approx(np.mean(areas), abs=5 * np.std(areas) / math.sqrt(600) + 1e-12)


def test_excess_aurc_and_the_rejection_ratio_at_their_ends():
    y = np.r_[np.ones(30), np.zeros(20)]
    perfect, constant = np.arange(50)[::-1], np.zeros(50)
    assert metrics.excess_aurc(perfect, y) == pytest.approx(0)
    assert metrics.prediction_rejection_ratio(perfect, y) == pytest.approx(1)
    assert metrics.aurc(constant, y) == pytest.approx(0.4)
    assert metrics.prediction_rejection_ratio(constant, y) == pytest.approx(0)
    assert metrics.prediction_rejection_ratio(-perfect, y) < 0
    assert metrics.prediction_rejection_ratio(perfect, np.ones(50)) is None
    assert metrics.prediction_rejection_ratio(perfect, np.zeros(50)) is None
    # Geifman et al. 2019: the best area is about r + (1 − r) ln(1 − r) for a base risk r.
    assert metrics.aurc(perfect, y) == pytest.approx(0.4 + 0.6 * math.log(0.6), abs=0.01)


def test_coverage_at_risk_and_risk_at_coverage():
    scores, correct = [5, 4, 3, 2, 1], [1, 1, 0, 1, 0]
    assert metrics.coverage_at_risk(scores, correct, 0) == pytest.approx(0.4)
    assert metrics.coverage_at_risk(scores, correct, 0.25) == pytest.approx(0.8)  # past a worse stretch
    assert metrics.coverage_at_risk(scores, correct, 1) == 1
    assert metrics.coverage_at_risk([2, 1], [0, 1], 0.1) == 0
    assert metrics.risk_at_coverage(scores, correct, 0.4) == 0
    assert metrics.risk_at_coverage(scores, correct, 0.5) == pytest.approx(1 / 3)
    assert metrics.risk_at_coverage(scores, correct, 1) == pytest.approx(0.4)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(CalibrationError):
            metrics.coverage_at_risk(scores, correct, bad)
        with pytest.raises(CalibrationError):
            metrics.risk_at_coverage(scores, correct, bad)


def test_scores_that_punish_a_wrong_answer():
    p, y = [0.95, 0.8, 0.6, 0.2], [1, 0, 1, 0]
    assert metrics.score_at_target(p, y, 0.5) == pytest.approx((1 - 1 + 1) / 4)
    assert metrics.score_at_target(p, y, 0.75) == pytest.approx((1 - 3) / 4)
    assert metrics.score_at_target(p, y, 0.9) == pytest.approx(1 / 4)
    assert metrics.score_at_cost(p, y, 0) == pytest.approx(2 / 4)  # always answers
    for cost, target in zip(metrics.COSTS[1:], metrics.TARGETS, strict=True):
        assert metrics.score_at_cost(p, y, cost) == pytest.approx(metrics.score_at_target(p, y, target))
    for bad in (-1, math.inf, math.nan):
        with pytest.raises(CalibrationError, match="wrong_cost"):
            metrics.score_at_cost(p, y, bad)
    for bad in (-0.1, 1, math.nan):
        with pytest.raises(CalibrationError, match="target"):
            metrics.score_at_target(p, y, bad)


# Bootstrap


def test_the_bootstrap_finds_the_error_of_a_mean(calibrated):
    p, y = calibrated
    low, high = metrics.group_bootstrap(
        lambda _, c: float(c.mean()), p, y, np.random.default_rng(0), draws=800
    )
    assert low < y.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * y.std() / math.sqrt(y.size), rel=0.15)


def test_the_bootstrap_draws_whole_groups(calibrated):
    """Ten copies of each row say no more than one."""
    p, y = calibrated[0][:200], calibrated[1][:200]
    groups = np.tile([f"q{i}" for i in range(200)], 10)
    once = metrics.group_bootstrap(metrics.brier, p, y, np.random.default_rng(0), draws=400)
    copies = metrics.group_bootstrap(
        metrics.brier, np.tile(p, 10), np.tile(y, 10), np.random.default_rng(0), groups=groups, draws=400
    )
    assert copies[1] - copies[0] == pytest.approx(once[1] - once[0], rel=0.2)


def test_groups_of_unequal_size_stay_together():
    groups = np.array(["a", "b", "a", "c", "c", "c"])
    scores = np.array([1.0, 2.0, 1.0, 3.0, 3.0, 3.0])
    sizes = {1.0: 2, 2.0: 1, 3.0: 3}

    def whole(drawn, _):
        values, counts = np.unique(drawn, return_counts=True)
        assert all(count % sizes[value] == 0 for value, count in zip(values.tolist(), counts, strict=True))
        assert sum(count // sizes[value] for value, count in zip(values.tolist(), counts, strict=True)) == 3
        return 0.0

    assert metrics.group_bootstrap(
        whole, scores, np.zeros(6), np.random.default_rng(0), groups=groups, draws=50
    ) == (0, 0)


def test_the_bootstrap_is_seeded_and_refuses_nonsense():
    p, y = [0.2, 0.8, 0.6], [0, 1, 1]
    one, other = (
        metrics.group_bootstrap(metrics.brier, p, y, np.random.default_rng(5), draws=30) for _ in "ab"
    )
    assert one == other
    assert (
        metrics.group_bootstrap(metrics.auroc, [0.5, 0.4], [1, 1], np.random.default_rng(0), draws=10) is None
    )
    assert metrics.group_bootstrap(metrics.brier, [], [], np.random.default_rng(0)) is None
    with pytest.raises(CalibrationError, match="draws is 0"):
        metrics.group_bootstrap(metrics.brier, p, y, np.random.default_rng(0), draws=0)
    with pytest.raises(CalibrationError, match="level 1"):
        metrics.group_bootstrap(metrics.brier, p, y, np.random.default_rng(0), level=1)
    with pytest.raises(CalibrationError, match="groups: shape"):
        metrics.group_bootstrap(metrics.brier, p, y, np.random.default_rng(0), groups=["a"])


def test_a_million_rows_are_measured_in_seconds():
    rng = np.random.default_rng(0)
    p = rng.random(1_000_000)
    y = rng.random(1_000_000) < p
    begun = time.process_time()
    assert metrics.auroc(p, y) == pytest.approx(5 / 6, abs=2e-3)
    assert metrics.aurc(p, y) == pytest.approx(1 / 4, abs=2e-3)
    assert metrics.smooth_ece(p, y) < 3e-3
    assert metrics.brier(p, y) == pytest.approx(1 / 6, abs=1e-3)
    assert time.process_time() - begun < 5


def test_on_real_answers(real):
    """The area under the curve of mean logprob was measured at .81 (.75-.87) when the data were made."""
    scores, correct = real
    assert metrics.auroc(scores, correct) == pytest.approx(0.81, abs=0.02)
    low, high = metrics.auroc_interval(scores, correct)
    assert low == pytest.approx(0.75, abs=0.03)
    assert high == pytest.approx(0.87, abs=0.03)
