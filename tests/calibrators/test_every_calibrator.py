"""What holds of all calibrators alike: monotone, inside (0, 1), order does not matter, JSON, bad input."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrators import CALIBRATORS, CalibrationError, NotFittedError, from_dict

KINDS = list(CALIBRATORS)
every = pytest.mark.parametrize("kind", KINDS)

score = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-3, 3).map(float),
    st.floats(-8, 8),
    st.just(math.inf),
    st.just(-math.inf),
)
rows = st.lists(st.tuples(score, st.booleans(), st.floats(0.01, 100)), min_size=1, max_size=60)


def test_the_table_holds_the_names_of_the_interface():
    assert list(CALIBRATORS) == ["temperature", "platt", "beta", "histogram", "isotonic", "venn_abers"]
    assert all(kind.kind == name for name, kind in CALIBRATORS.items())


@pytest.mark.parametrize("weighted", [False, True])
@every
@settings(deadline=None, max_examples=40)
@given(rows=rows, asked=st.lists(score, min_size=1, max_size=30), data=st.data())
def test_properties(kind, weighted, rows, asked, data):
    scores, correct, weights = (list(column) for column in zip(*rows, strict=True))
    fitted = CALIBRATORS[kind]().fit(scores, correct, weights if weighted else None)
    asked = sorted([*asked, *scores, -math.inf, math.inf])
    p = fitted.predict(asked)
    assert ((p > 0) & (p < 1)).all()
    assert (np.diff(p) >= -1e-12).all()
    assert p.tolist() == [fitted.predict_one(one) for one in asked]

    again = from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert type(again) is type(fitted)
    assert again.predict(asked).tolist() == p.tolist()

    shuffled = data.draw(st.permutations(rows))
    scores, correct, weights = (list(column) for column in zip(*shuffled, strict=True))
    assert (
        CALIBRATORS[kind]().fit(scores, correct, weights if weighted else None).to_dict() == fitted.to_dict()
    )


@every
def test_the_scale_of_weights_does_not_matter(kind, draw):
    scores, correct = draw(150, digits=1)
    weights = np.random.default_rng(1).uniform(0.5, 4, 150)
    grid = np.linspace(-6, 6, 50)
    one = CALIBRATORS[kind]().fit(scores, correct, weights).predict(grid)
    other = CALIBRATORS[kind]().fit(scores, correct, weights * 1e-200).predict(grid)
    plain = CALIBRATORS[kind]().fit(scores, correct).predict(grid)
    same = CALIBRATORS[kind]().fit(scores, correct, np.full(150, 7.0)).predict(grid)
    np.testing.assert_allclose(other, one, atol=1e-9)
    np.testing.assert_allclose(same, plain, atol=1e-9)
    assert np.abs(one - plain).max() > 1e-4


@every
def test_inverse_propensities_undo_selection(kind, draw):
    """Wrong answers labelled four times as often as right ones, weighted back."""
    scores, correct = draw(20_000, seed=3)
    rng = np.random.default_rng(4)
    propensity = np.where(correct == 1, 0.2, 0.8)
    kept = rng.random(correct.size) < propensity
    fitted = CALIBRATORS[kind]().fit(scores[kept], correct[kept], 1 / propensity[kept])
    biased = CALIBRATORS[kind]().fit(scores[kept], correct[kept])
    full = CALIBRATORS[kind]().fit(scores, correct)
    grid = np.linspace(-2, 2, 41)
    off = np.abs(fitted.predict(grid) - full.predict(grid)).mean()
    assert off < 0.03
    assert off < np.abs(biased.predict(grid) - full.predict(grid)).mean() / 2


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 50])
@every
def test_one_class_gives_a_confidence_inside(kind, n, label):
    fitted = CALIBRATORS[kind]().fit(np.linspace(-3, 3, n), np.full(n, label))
    p = fitted.predict([-math.inf, -1e300, -3, 0, 3, 1e300, math.inf])
    assert ((p > 0) & (p < 1)).all()


@pytest.mark.parametrize("kind", ["platt", "beta", "isotonic"])
def test_one_class_is_laplaces_constant(kind):
    fitted = CALIBRATORS[kind]().fit([-1.0, 0.0, 2.0, 5.0], [1, 1, 1, 1])
    np.testing.assert_allclose(fitted.predict([-9, 0, 9]), 5 / 6, atol=1e-9)


@every
def test_ties_share_one_confidence(kind):
    fitted = CALIBRATORS[kind]().fit([1.0] * 40, [1] * 30 + [0] * 10)
    p = fitted.predict_one(1.0)
    assert p == pytest.approx(0.75, abs=0.03)


@every
def test_infinite_scores_keep_a_level_of_their_own(kind):
    """A probability of exactly 1 is +inf in log-odds: it is not the tie of the next lower level."""
    scores = [math.inf] * 300 + [1.4] * 300 + [-math.inf] * 300
    correct = [1] * 270 + [0] * 30 + [1] * 150 + [0] * 150 + [1] * 30 + [0] * 270
    p = CALIBRATORS[kind]().fit(scores, correct).predict([-math.inf, 1.4, math.inf])
    assert p[0] < p[1] < p[2]
    assert p[2] == pytest.approx(0.9, abs=0.12)
    assert p[0] == pytest.approx(0.1, abs=0.12)


@every
def test_contradicting_labels_never_turn_the_curve(kind, draw):
    scores, correct = draw(400)
    p = CALIBRATORS[kind]().fit(scores, 1 - correct).predict(np.linspace(-9, 9, 100))
    assert (np.diff(p) >= 0).all()


@pytest.mark.parametrize(
    ("scores", "correct", "weights", "message"),
    [
        ([0.0, math.nan], [0, 1], None, r"scores\[1\] is NaN"),
        ([0.0, None], [0, 1], None, r"scores\[1\] is NaN"),
        ([0.0, 1.0], [0, math.nan], None, r"correct\[1\] is NaN"),
        ([0.0, 1.0], [0, 2], None, r"correct\[1\] is 2"),
        ([0.0, 1.0], [0], None, "1 labels for 2 rows"),
        ([0.0, 1.0], [0, 1], [1.0], "1 weights for 2 rows"),
        ([0.0, 1.0], [0, 1], [1.0, 0.0], r"weights\[1\] is 0"),
        ([0.0, 1.0], [0, 1], [math.inf, 1.0], r"weights\[0\] is inf"),
        ([0.0, 1.0], [0, 1], [math.nan, 1.0], r"weights\[0\] is NaN"),
        ([], [], None, "no rows"),
        ([], [], [], "no rows"),
        ([[0.0, 1.0]], [0, 1], None, r"scores: shape \(1, 2\)"),
        (["high", "low"], [0, 1], None, "scores: not numbers"),
    ],
)
@every
def test_bad_rows_are_refused_by_place(kind, scores, correct, weights, message):
    with pytest.raises(CalibrationError, match=message):
        CALIBRATORS[kind]().fit(scores, correct, weights)


@every
def test_nan_is_never_a_confidence(kind, draw):
    fitted = CALIBRATORS[kind]().fit(*draw(60))
    with pytest.raises(CalibrationError, match="NaN"):
        fitted.predict_one(math.nan)
    with pytest.raises(CalibrationError, match=r"scores\[1\] is NaN"):
        fitted.predict([0.0, math.nan])


@every
def test_before_fit(kind):
    with pytest.raises(NotFittedError, match="call fit first"):
        CALIBRATORS[kind]().predict_one(0.0)
    with pytest.raises(NotFittedError, match="call fit first"):
        CALIBRATORS[kind]().to_dict()
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = CALIBRATORS[kind]().colour


@every
def test_copies_and_pickles_as_any_object(kind, draw):
    fitted = CALIBRATORS[kind]().fit(*draw(60))
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert other.to_dict() == fitted.to_dict()


def _leaves(saved):
    return [key for key in saved if key not in ("kind", "version")]


@every
def test_broken_files_are_refused(kind, draw):
    saved = CALIBRATORS[kind]().fit(*draw(400)).to_dict()
    assert saved["kind"] == kind
    for key in saved:
        with pytest.raises(CalibrationError, match=f"key '{key}' is missing"):
            from_dict({name: value for name, value in saved.items() if name != key})
    for version in (2, 0, None, "1", True, math.nan):
        with pytest.raises(CalibrationError, match="version"):
            from_dict({**saved, "version": version})
    for key in _leaves(saved):
        for bad in (math.nan, math.inf, "1", None, True, {}, 10**400):
            value = [bad, *saved[key][1:]] if isinstance(saved[key], list) else bad
            with pytest.raises(CalibrationError, match=key):
                from_dict({**saved, key: value})
        if isinstance(saved[key], list):
            for value in (0.5, "ab", saved[key][::-1]):
                with pytest.raises(CalibrationError, match=key):
                    from_dict({**saved, key: value})
            with pytest.raises(CalibrationError, match="values"):
                from_dict({**saved, key: saved[key][1:]}) if "scores" not in key else from_dict(
                    {**saved, key: saved[key][:-1]}
                )


@pytest.mark.parametrize(
    "saved", [None, [], "platt", 3, {"kind": "gauss"}, {"kind": None}, {"kind": ["platt"]}]
)
def test_what_is_no_calibrator_is_refused(saved):
    with pytest.raises(CalibrationError, match=r"kind|unknown"):
        from_dict(saved)


@every
def test_another_kinds_file_is_refused(kind, draw):
    other = KINDS[KINDS.index(kind) - 1]
    with pytest.raises(CalibrationError, match="kind"):
        CALIBRATORS[kind].from_dict(CALIBRATORS[other]().fit(*draw(60)).to_dict())


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("temperature", {"temperature": 0}),
        ("temperature", {"temperature": -1.0}),
        ("temperature", {"bound": 1.0}),
        ("platt", {"slope": -0.1}),
        ("beta", {"a": -0.1}),
        ("beta", {"b": -0.1}),
        ("isotonic", {"scores": [], "values": []}),
        ("isotonic", {"scores": [0.0], "values": [1.0]}),
        ("isotonic", {"scores": [0.0, 0.0], "values": [0.4, 0.5]}),
        ("isotonic", {"scores": [0.0, 1.0], "values": [0.5, 0.4]}),
        ("histogram", {"edges": [], "values": [0.0]}),
        ("histogram", {"edges": [], "values": [1.5]}),
        ("venn_abers", {"lower_scores": [], "lower": [1.0]}),
        ("venn_abers", {"upper_scores": [], "upper": [0.0]}),
    ],
)
def test_saved_values_out_of_range_are_refused(kind, change, draw):
    saved = CALIBRATORS[kind]().fit(*draw(100)).to_dict()
    with pytest.raises(CalibrationError, match="saved calibrator"):
        from_dict({**saved, **change})


@every
def test_held_out_confidence_is_right_as_often_as_it_says(kind, draw):
    scores, correct = draw(20_000, slope=1.0, offset=0.0)
    fitted = CALIBRATORS[kind]().fit(scores[:5000], correct[:5000])
    p = fitted.predict(scores[5000:])
    for low in np.arange(0.1, 0.9, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert correct[5000:][inside].mean() == pytest.approx(p[inside].mean(), abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_on_real_answers(kind, real):
    """Half of the questions fit, the other half say whether it beats the base rate, over 20 splits."""
    scores, correct = real
    gain = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(correct.size)
        fit, held = order[: correct.size // 2], order[correct.size // 2 :]
        p = CALIBRATORS[kind]().fit(scores[fit], correct[fit]).predict(scores[held])
        gain.append(np.var(correct[held]) - np.mean((p - correct[held]) ** 2))
    assert np.mean(gain) > 0.01 or kind == "temperature"  # which has no offset for a base rate of a third
