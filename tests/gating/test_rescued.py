"""Rescued answers: a separate group, fitted on answers that other thresholds withhold, and never certified."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gating import Evidence, Gate, GatingError, Policy
from gating.conditions import Group
from gating.early import early_abstention
from gating.gate import tightened
from gating.tuning import Collector, FixedThreshold, TargetRisk, WrongCost, tune
from proxy.control.risk_watch import Target
from tests.gating.conditional import certificate, conditions, evidence, policy

CLOSED = evidence(context=False)
RESCUED = replace(CLOSED, rescued=True)


def test_a_rescued_answer_has_a_threshold_of_its_own_where_the_policy_has_one():
    plain = Gate(policy())
    assert plain.decide(RESCUED) == plain.decide(CLOSED)
    own = Gate(policy(conditions(none=Group(0.6), context=Group(0.9), rescued=Group(0.99))))
    assert own.decide(CLOSED).decision == "answer"
    assert (own.decide(RESCUED).decision, own.decide(RESCUED).threshold) == ("abstain", 0.99)
    never = Gate(policy(conditions(none=Group(0.6), context=Group(0.9), rescued=Group(None))))
    assert never.decide(RESCUED).decision == "abstain"


def test_nothing_is_certified_of_it_and_it_takes_no_certificate_from_the_others():
    both = {"none": Group(0.6, certificate()), "context": Group(0.9, certificate())}
    gate = Gate(policy(conditions(**both, rescued=Group(0.7))))
    assert gate.certified()
    assert gate.certified(evidence=CLOSED)
    assert not gate.certified(evidence=RESCUED)
    assert Target.of(gate.rule) == Target.of(policy(conditions(**both))) != None  # noqa: E711
    with pytest.raises(GatingError, match=r"groups\.rescued: cannot have a certificate"):
        conditions(**both, rescued=Group(0.7, certificate()))


def test_it_is_tightened_and_watched_with_the_others():
    gate = Gate(policy(conditions(none=Group(0.99), context=Group(0.99), rescued=Group(0.0))))
    assert tightened(gate, 0.7).rule.conditions.groups["rescued"].threshold == 0.7
    watching = early_abstention(gate, max_tokens=4)()
    watching.add([-9.0, -9.0])
    assert not watching.settled


def asked(n=1500, *, seed=0, declined=0.5):
    """Answers without passages and with them, refused or as they were: what is refused is the harder half."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        score = -rng.exponential()
        hard = rng.random() < 0.5
        right = rng.random() < 1 / (1 + np.exp(-3 * (score + (0.6 if hard else 2.0))))
        refuses = hard and rng.random() < 2 * declined
        opened = Evidence("I don't know.", context=True) if refuses else evidence(score / 2, context=True)
        yield evidence(score, context=False), opened, "correct" if right else "incorrect", refuses


def graded(*args, told=True, **how):
    """Return graded answers without and with passages, the latter with their counterparts without passages."""
    made = Collector()
    for row, (closed, opened, label, refuses) in enumerate(asked(*args, **how)):
        made.add(closed, label, str(row))
        without = (closed, label) if told else None
        made.add(opened, "abstained" if refuses else label, str(row), without=without)
    return made.graded()


def made(goal, *, allow_estimate=False, **how):
    return tune(graded(**how), goal, scorers=["mean_logprob"], allow_estimate=allow_estimate)


def test_those_that_score_alike_are_less_often_right_where_the_answer_with_passages_was_withheld():
    tuned = made(WrongCost(1.0))
    found = tuned.policy
    group = found.conditions.groups["rescued"]
    assert (group.threshold, group.certificate) == (0.5, None)
    assert group.n > 200
    for score in (-0.1, -0.5, -1.0, -2.0):
        closed = evidence(score, context=False)
        assert found.confidence(replace(closed, rescued=True)) < found.confidence(closed) - 0.05
    figures = tuned.figures.conditions["rescued"]
    assert figures.n == group.n
    assert 0 < figures.held_out.risk < figures.always.risk
    assert tuned.to_dict()["conditions"]["rescued"]["certificate"] is None


def test_it_changes_nothing_for_the_others():
    with_it, without = made(TargetRisk(0.3)), made(TargetRisk(0.3), told=False)
    assert "rescued" not in without.policy.conditions.groups
    groups = dict(with_it.policy.conditions.groups)
    del groups["rescued"]
    assert groups == without.policy.conditions.groups
    assert with_it.policy.certificate == without.policy.certificate is not None
    for found in (CLOSED, evidence(context=True)):
        assert with_it.policy.read(found) == without.policy.read(found)


def rescued(gate, seed):
    """Return for each answer that a rescue serves whether it is wrong."""
    return [
        label == "incorrect"
        for closed, opened, label, _ in asked(seed=seed)
        if not gate.decide(opened).served and gate.decide(replace(closed, rescued=True)).served
    ]


@pytest.mark.parametrize("target", [0.25, 0.3])
def test_what_is_rescued_keeps_to_the_target(target):
    """With the threshold of all answers without passages the risk is too high, because these questions are harder."""
    wrong = {True: [], False: []}
    for told, draws in ((True, 24), (False, 4)):
        for seed in range(draws):
            tuned = made(TargetRisk(target), seed=seed, told=told, allow_estimate=True)
            wrong[told].extend(rescued(Gate(tuned.policy), 100 + seed))
    assert np.mean(wrong[False]) > target + 0.05
    # An estimate, not a certificate: .271 at .25 over these 24 draws, with a standard error of .005.
    assert np.mean(wrong[True]) < target + 0.03
    assert len(wrong[True]) > 100


def test_one_question_counts_once_however_many_passages_it_was_asked_with():
    many = Collector()
    rng = np.random.default_rng(0)
    for row in range(200):
        right = bool(rng.random() < 0.5)
        closed = evidence(-float(rng.exponential()), context=False), "correct" if right else "incorrect"
        many.add(*closed, str(row))
        for _ in range(3):
            many.add(Evidence("I don't know.", context=True), "abstained", str(row), without=closed)
        many.add(evidence(context=True), closed[1], str(row), without=closed)
    tuned = tune(many.graded(), FixedThreshold(0.4), scorers=["mean_logprob"])
    fitted_on = np.unique(many.graded().group[tuned.splits["fit"]]).size
    assert tuned.policy.conditions.groups["rescued"].n == fitted_on


def test_too_few_make_no_group_and_a_target_beyond_all_confidences_rescues_nothing():
    assert "rescued" not in made(FixedThreshold(0.0), n=60, declined=0.05).policy.conditions.groups
    certain = made(TargetRisk(0.00001))
    assert certain.policy.conditions.groups["rescued"].threshold == 0.99999
    assert certain.figures.conditions["rescued"].held_out.coverage == 0.0
    assert rescued(Gate(certain.policy), 0) == []


def test_it_is_saved_and_loaded():
    found = made(WrongCost(1.0)).policy
    again = Policy.load(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again.read(RESCUED) == found.read(RESCUED)
    assert again.conditions.groups == found.conditions.groups


def test_answers_without_passages_that_tell_other_things_than_the_scorers_read_make_no_group():
    mixed = Collector()
    rng = np.random.default_rng(1)
    for row in range(200):
        label = "correct" if rng.random() < 0.5 else "incorrect"
        mixed.add(evidence(-float(rng.exponential()), context=False), label, str(row))
        bare = Evidence("Paris", context=False), label
        mixed.add(evidence(-1.0, context=True), label, str(row), without=bare)
    assert (
        "rescued"
        not in tune(mixed.graded(), WrongCost(1.0), scorers=["mean_logprob"]).policy.conditions.groups
    )
