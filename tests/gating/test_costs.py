"""Which scorers a policy takes where dearer ones can be had, and whether they pay."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from gating import Evidence
from gating.scorers import SCORERS, FeatureScorer
from gating.tuning import Collector, WrongCost, tune
from gating.tuning.costs import Cheaper, cheapest, cost_of, joint_losses, mean_over_groups, single_losses

LABELS = ("incorrect", "correct")
ALL = np.arange(300)


def graded(n, *, logprobs=2.0, samples=2.0, p_true=None, seed=0):
    """Answers that are right by a logit of their logprob, of how many of four samples agree, and of P(True)."""
    rng = np.random.default_rng(seed)
    made = Collector()
    for row in range(n):
        score, agree, said = -rng.exponential(), rng.integers(0, 5), rng.random()
        logit = logprobs * (score + 0.7) + samples * (agree / 2 - 1) + (p_true or 0.0) * (said - 0.5)
        evidence = Evidence(
            "Paris",
            token_logprobs=[score],
            samples=["Paris"] * agree + ["Lyon"] * (4 - agree),
            p_true=None if p_true is None else said,
        )
        made.add(evidence, LABELS[int(rng.random() < 1 / (1 + math.exp(-logit)))], str(row))
    return made.graded()


def names_of(policy):
    return [scorer.name for scorer in policy.scorers]


def test_what_evidence_costs():
    assert [cost_of(SCORERS[name]) for name in ("topk_entropy", "p_true", "cocoa")] == [0, 1, 2]
    assert cost_of(FeatureScorer("mine", "real")) == 3
    assert [cost_of(scorer) for scorer in SCORERS.values()] == sorted(map(cost_of, SCORERS.values()))


def test_samples_that_say_nothing_more_are_seldom_taken():
    """The rule of one standard error lets noise win one time in six or so."""
    taken = []
    for seed in range(5):
        found = tune(graded(300, samples=0.0, seed=seed), WrongCost(1), scorers=["auto"])
        taken.append(names_of(found.policy))
        assert next(iter(found.figures.considered)) == "mean_logprob"
        assert (found.figures.cheaper is None) == (taken[-1] == ["mean_logprob"])
    assert taken.count(["mean_logprob"]) >= 3


@pytest.mark.parametrize("seed", range(2))
def test_samples_that_say_more_are_taken_and_pay(seed):
    found = tune(graded(600, samples=4.0, seed=seed), WrongCost(1), scorers=["auto"])
    assert "samples" in found.policy.needs
    assert "logprobs" in found.policy.needs
    cheaper = found.figures.cheaper
    assert cheaper.scorer == "mean_logprob"
    assert cheaper.pays
    assert found.figures.to_dict()["cheaper"]["pays"] is True
    losses = found.figures.considered
    assert losses["+".join(names_of(found.policy))] < losses["mean_logprob"]


def test_a_middle_price_is_taken_where_it_does():
    found = tune(graded(600, samples=0.0, p_true=12.0), WrongCost(1), scorers=["auto"])
    assert "p_true" in names_of(found.policy)
    assert "samples" not in found.policy.needs


def test_a_named_combination_that_does_not_pay_is_told():
    found = tune(graded(300, samples=0.0), WrongCost(1), scorers=["mean_logprob", "agreement"])
    assert found.figures.cheaper.scorer == "mean_logprob"
    assert found.figures.cheaper.pays is False
    assert found.figures.considered == {}


def test_sampling_alone_is_compared_with_logprobs():
    found = tune(graded(300, logprobs=4.0, samples=0.5), WrongCost(1), scorers=["agreement"])
    assert found.figures.cheaper.scorer == "mean_logprob"
    assert found.figures.cheaper.pays is False


def test_a_combination_of_one_price_is_compared_with_its_own():
    made = Collector()
    rng = np.random.default_rng(0)
    for row in range(400):
        pair = -rng.exponential(size=2)
        right = rng.random() < 1 / (1 + math.exp(-3 * (pair.mean() + 0.7)))
        made.add(Evidence("Paris", token_logprobs=pair.tolist()), LABELS[int(right)], str(row))
    found = tune(made.graded(), WrongCost(1), scorers=["min_logprob", "first_token_logprob"])
    assert found.figures.cheaper.scorer in {"min_logprob", "first_token_logprob"}


def test_the_gain_is_that_of_the_log_losses():
    data = graded(300)
    found = tune(data, WrongCost(1), scorers=["mean_logprob", "agreement"])
    cheaper, figures = found.figures.cheaper, found.figures
    alone = figures.scorers["mean_logprob"].log_loss
    assert cheaper.gain == pytest.approx(alone - figures.policy.log_loss, abs=1e-9)


def test_joint_losses_are_those_of_scikit_learn():
    """Half a squared weight against the sum of losses, on standardised log-odds, fold by fold."""
    data, names = graded(300), ("mean_logprob", "agreement")
    fold = np.arange(300) % 5
    ours = joint_losses(data, names, ALL, fold)
    features = np.column_stack([data.columns[name].log_odds(ALL) for name in names])
    predicted = np.empty(300)
    for one in range(5):
        seen = fold != one
        centre, spread = features[seen].mean(axis=0), features[seen].std(axis=0)
        model = LogisticRegression(tol=1e-10).fit((features[seen] - centre) / spread, data.outcome[seen])
        predicted[~seen] = model.predict_proba((features[~seen] - centre) / spread)[:, 1]
    assert ours.mean() == pytest.approx(log_loss(data.outcome, predicted), abs=1e-6)


def test_the_unmeasured_and_folds_of_one_class_get_the_base_rate():
    made = Collector()
    for row in range(40):
        made.add(Evidence("Paris", token_logprobs=[-1.0] if row % 2 else None), LABELS[row < 8], str(row))
    made.add(Evidence("Paris", token_logprobs=None, samples=["Paris"]), "correct", "last")
    data = made.graded()
    rows = np.arange(40)
    fold = (rows >= 8).astype(int)  # what one fold holds out is all of one class
    losses = joint_losses(data, ("mean_logprob", "sequence_logprob"), rows, fold)
    assert losses[:8] == pytest.approx(-math.log(1 / 34))
    assert single_losses(data, "mean_logprob", rows, fold)[:8:2] == pytest.approx(-math.log(1 / 34))
    even = joint_losses(data, ("mean_logprob", "sequence_logprob"), rows, rows % 5)
    assert np.isfinite(even).all()


def test_nothing_to_choose_among():
    made = Collector()
    for row in range(40):
        made.add(Evidence("Paris", features={"mine": float(row)}), LABELS[row > 20], str(row))
    assert cheapest(made.graded(), np.arange(40), np.random.default_rng(0)) == ((), {})
    found = tune(made.graded(), WrongCost(1), scorers=["auto"])
    assert names_of(found.policy) == ["mine"]


def test_the_error_is_that_of_the_questions():
    values = np.random.default_rng(0).normal(size=50)
    mean, error = mean_over_groups(np.repeat(values, 4), np.repeat(np.arange(50), 4))
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std() / math.sqrt(50))


def test_too_few_questions_tell_nothing():
    for gained in (np.empty(0), np.ones(3)):
        told = Cheaper.of("mean_logprob", gained, np.zeros(gained.size, dtype=np.intp))
        assert (told.gain, told.error, told.pays) == (None, None, None)
