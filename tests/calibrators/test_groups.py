"""Calibration by group: between the group's own curve and everybody's."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from calibrators import CALIBRATORS, CalibrationError, GroupedCalibrator
from calibrators.metrics import log_loss


def two_groups(draw, n_a=400, n_b=400):
    """Draw two groups; equal scores mean a lower probability in group b, as passages inflate scores."""
    a, b = draw(n_a, seed=1, offset=1.0), draw(n_b, seed=2, offset=-1.5)
    groups = ["a"] * n_a + ["b"] * n_b
    return np.r_[a[0], b[0]], np.r_[a[1], b[1]], groups


def logit(p):
    return np.log(p / (1 - p))


def test_log_odds_are_mixed_by_the_number_of_labels(draw):
    scores, correct, groups = two_groups(draw, 400, 60)
    fitted = GroupedCalibrator("platt", half_trust=20).fit(scores, correct, groups)
    overall = CALIBRATORS["platt"]().fit(scores, correct).predict_one(0.5)
    own = CALIBRATORS["platt"]().fit(scores[400:], correct[400:]).predict_one(0.5)
    expected = 0.25 * logit(overall) + 0.75 * logit(own)
    assert logit(fitted.predict_one(0.5, "b")) == pytest.approx(expected)


def test_an_unknown_group_gets_the_global_curve(draw):
    scores, correct, groups = two_groups(draw)
    fitted = GroupedCalibrator().fit(scores, correct, groups)
    assert fitted.predict_one(0.5, "new") == CALIBRATORS["platt"]().fit(scores, correct).predict_one(0.5)


@pytest.mark.parametrize("kind", list(CALIBRATORS))
def test_every_kind_rises_and_goes_through_json(kind, draw):
    scores, correct, groups = two_groups(draw)
    fitted = GroupedCalibrator(kind).fit(scores, correct, groups)
    again = GroupedCalibrator.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    grid = np.r_[-math.inf, np.linspace(-9, 9, 60), math.inf]
    for name in ("a", "b", "new"):
        p = fitted.predict(grid, [name] * grid.size)
        assert (np.diff(p) >= -1e-12).all()
        assert ((p > 0) & (p < 1)).all()
        assert again.predict(grid, [name] * grid.size).tolist() == p.tolist()
    assert again.to_dict() == fitted.to_dict()


def test_shrinking_beats_either_alone_where_groups_are_small(draw):
    losses = {"global": [], "own": [], "shrunk": []}
    for seed in range(15):
        rng = np.random.default_rng(seed)
        offsets = rng.normal(-0.3, 0.5, 6)
        parts = [draw(1060, 100 * seed + g, 0.8, offsets[g]) for g in range(6)]
        fit = [np.concatenate([part[i][:60] for part in parts]) for i in (0, 1)]
        held = [np.concatenate([part[i][60:] for part in parts]) for i in (0, 1)]
        fit_groups, held_groups = np.repeat(list("abcdef"), 60), np.repeat(list("abcdef"), 1000)
        for name, trust in (("global", 1e9), ("own", 1e-9), ("shrunk", None)):
            grouped = GroupedCalibrator() if trust is None else GroupedCalibrator(half_trust=trust)
            p = grouped.fit(*fit, fit_groups).predict(held[0], held_groups)
            losses[name].append(log_loss(p, held[1]))
    assert np.mean(losses["shrunk"]) < min(np.mean(losses["global"]), np.mean(losses["own"]))


def test_weights_count_as_effective_labels(draw):
    scores, correct, groups = two_groups(draw)
    weights = np.random.default_rng(0).uniform(0.1, 5, 800)
    one = GroupedCalibrator().fit(scores, correct, groups, weights)
    other = GroupedCalibrator().fit(scores, correct, groups, weights * 3)
    plain = GroupedCalibrator().fit(scores, correct, groups)
    assert one.predict_one(0.3, "a") == pytest.approx(other.predict_one(0.3, "a"))
    assert one.groups_["a"][1] < plain.groups_["a"][1] == 400 / 420


def test_a_group_of_one_label(draw):
    scores, correct, groups = two_groups(draw, 200, 1)
    fitted = GroupedCalibrator().fit(scores, correct, groups)
    assert fitted.predict_one(0.0, "b") == pytest.approx(fitted.predict_one(0.0, "a"), abs=0.1)


def test_bad_input(draw):
    scores, correct, groups = two_groups(draw, 10, 10)
    fitted = GroupedCalibrator().fit(scores, correct, groups)
    with pytest.raises(CalibrationError, match=r"groups: shape \(19,\) for 20 rows"):
        GroupedCalibrator().fit(scores, correct, groups[:-1])
    with pytest.raises(CalibrationError, match="NaN"):
        fitted.predict_one(math.nan, "a")
    with pytest.raises(CalibrationError, match="no rows"):
        GroupedCalibrator().fit([], [], [])
    with pytest.raises(CalibrationError, match="unknown"):
        GroupedCalibrator("gauss")
    for trust in (0, -1.0, math.inf, math.nan):
        with pytest.raises(CalibrationError, match="half_trust"):
            GroupedCalibrator(half_trust=trust)


def test_broken_files_are_refused(draw):
    saved = GroupedCalibrator().fit(*two_groups(draw, 10, 10)).to_dict()
    for key in saved:
        with pytest.raises(CalibrationError, match="missing"):
            GroupedCalibrator.from_dict({name: value for name, value in saved.items() if name != key})
    share = {"calibrator": saved["global"], "share": math.nan}
    for change in (
        {"version": 2},
        {"kind": "platt"},
        {"half_trust": math.nan},
        {"groups": []},
        {"groups": {"a": None}},
        {"groups": {"a": share}},
        {"groups": {"a": {**share, "share": 1.5}}},
        {"global": {**saved["global"], "slope": math.nan}},
    ):
        with pytest.raises(CalibrationError):
            GroupedCalibrator.from_dict({**saved, **change})


def test_a_group_that_comes_later_is_as_one_that_came_with_the_others(draw):
    scores, correct, groups = two_groups(draw, 400, 60)
    first = GroupedCalibrator().fit(scores[:400], correct[:400], groups[:400])
    both = first.with_group("b", scores[400:], correct[400:])
    assert first.groups_.keys() == {"a"}
    own, share = GroupedCalibrator().fit(scores, correct, groups).groups_["b"]
    assert both.groups_["b"][1] == share
    assert both.groups_["b"][0].to_dict() == own.to_dict()
    assert both.predict_one(0.5, "a") == first.predict_one(0.5, "a")
    again = GroupedCalibrator.from_dict(json.loads(json.dumps(both.to_dict())))
    assert again.predict_one(0.5, "b") == both.predict_one(0.5, "b") != first.predict_one(0.5, "b")
    with pytest.raises(CalibrationError):
        first.with_group("c", [], [])
