"""The choice of a calibrator: candidates by n, whole groups in folds, seeded, the fit on all rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from calibrators import CALIBRATORS, CalibrationError, auto
from calibrators.metrics import log_loss
from calibrators.select import MOST_COMPARED


@pytest.mark.parametrize(
    ("n", "kinds"),
    [
        (40, {"temperature", "platt"}),
        (199, {"temperature", "platt"}),
        (200, {"platt", "beta", "venn_abers"}),
        (1000, {"platt", "beta", "venn_abers"}),
        (1001, {"platt", "beta", "venn_abers", "isotonic"}),
    ],
)
def test_candidates_by_the_number_of_labels(n, kinds, draw):
    chosen = auto(*draw(n))
    assert set(chosen.losses) == kinds
    # Platt's unless another beats it: then by the least loss of those that do.
    assert chosen.kind == "platt" or chosen.losses[chosen.kind] < chosen.losses["platt"]
    assert chosen.compared == n


def test_the_winner_is_fitted_on_all_rows(draw):
    scores, correct = draw(500)
    weights = np.random.default_rng(0).uniform(1, 3, 500)
    chosen = auto(scores, correct, weights, seed=1)
    again = CALIBRATORS[chosen.kind]().fit(scores, correct, weights)
    grid = np.linspace(-5, 5, 30)
    np.testing.assert_allclose(chosen.calibrator.predict(grid), again.predict(grid), rtol=1e-9)


def test_it_finds_what_the_truth_needs():
    rng = np.random.default_rng(0)
    scores = rng.uniform(-4, 4, 4000)
    step = rng.random(4000) < np.where(scores > 1, 0.9, 0.2)
    assert auto(scores, step).kind in {"isotonic", "venn_abers"}
    overconfident = rng.random(150) < 1 / (1 + np.exp(-scores[:150] / 3))
    losses = auto(scores[:150], overconfident).losses
    assert max(losses.values()) < np.log(2)


def test_noise_does_not_unseat_platt():
    """Where the curve is logistic the least loss outright would pick another in about half of the draws."""
    chosen = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=300)
        correct = rng.random(300) < 1 / (1 + np.exp(-1.5 * scores))
        chosen.append(auto(scores, correct, seed=seed).kind)
    assert chosen.count("platt") >= 15


def test_a_seed_decides(draw):
    scores, correct = draw(300)
    assert auto(scores, correct, seed=3).losses == auto(scores, correct, seed=3).losses
    assert auto(scores, correct, seed=3).losses != auto(scores, correct, seed=4).losses


def test_questions_do_not_stand_on_both_sides_of_a_fold():
    """Every question comes twenty times with one score and one random label: memory would look like skill."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 20)
    scores = np.repeat(rng.normal(size=60), 20)
    correct = np.repeat(rng.random(60) < 0.5, 20).astype(float)
    by_row = auto(scores, correct).losses["isotonic"]
    by_group = auto(scores, correct, groups=groups).losses["isotonic"]
    assert by_group > by_row + 0.1
    folds = GroupKFold(5, shuffle=True, random_state=0).split(scores, groups=groups)
    p = np.empty(scores.size)
    for fit, held in folds:
        p[held] = CALIBRATORS["isotonic"]().fit(scores[fit], correct[fit]).predict(scores[held])
    assert by_group == pytest.approx(log_loss(p, correct), rel=0.3)


def test_names_serve_as_groups(draw):
    scores, correct = draw(100)
    names = [f"q{i // 2}" for i in range(100)]
    numbers = [i // 2 for i in range(100)]
    assert set(auto(scores, correct, groups=names).losses) == set(
        auto(scores, correct, groups=numbers).losses
    )


def test_nothing_to_hold_out():
    for groups in (None, ["q"]):
        chosen = auto([1.0], [1], groups=groups)
        assert (chosen.kind, chosen.losses, chosen.compared) == ("platt", {}, 0)
    assert auto([1.0, 2.0], [1, 0], groups=["q", "q"]).losses == {}
    assert auto([1.0, 2.0], [1, 0], groups=["q", "r"]).compared == 2


def test_many_rows_are_compared_on_a_sample_of_whole_groups(draw):
    n = MOST_COMPARED + 10_000
    scores, correct = draw(n)
    groups = np.arange(n) // 7
    chosen = auto(scores, correct, groups=groups)
    assert MOST_COMPARED - 7 < chosen.compared <= MOST_COMPARED
    again = CALIBRATORS[chosen.kind]().fit(scores, correct)
    assert chosen.calibrator.to_dict() == again.to_dict()


def test_bad_input(draw):
    scores, correct = draw(10)
    with pytest.raises(CalibrationError, match="folds is 1"):
        auto(scores, correct, folds=1)
    with pytest.raises(CalibrationError, match=r"groups: shape \(3,\) for 10 rows"):
        auto(scores, correct, groups=["a", "b", "c"])
    with pytest.raises(CalibrationError, match="no rows"):
        auto([], [])
    with pytest.raises(CalibrationError, match="labels for"):
        auto(scores, correct[:5])


def test_on_real_answers(real):
    scores, correct = real
    chosen = auto(scores, correct)
    assert chosen.losses[chosen.kind] < 0.6  # the base rate alone costs 0.65
