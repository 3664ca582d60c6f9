"""Conditions: with passages and without, each with its own calibrator, threshold and certificate."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gating import SCORERS, Evidence, Gate, GatingError, Policy, Unmeasured
from gating.conditions import Group, by_context, by_contrast
from gating.early import early_abstention
from gating.gate import Uncalibrated, tightened
from gating.tuning import Collector, FixedThreshold, Provenance, TargetRisk, WrongCost, tune
from tests.gating.conditional import certificate, conditions, evidence, policy

CLOSED = Evidence("Paris", token_logprobs=[-0.2])


@pytest.mark.parametrize(("found", "plain", "contrast"), [
    (evidence(), None, None),
    (evidence(context=False), "none", "none"),
    (evidence(context=False, closed=CLOSED), "none", "none"),
    (evidence(context=True), "context", None),
    (evidence(closed=CLOSED), None, "agree"),
    (evidence(context=True, closed=CLOSED), "context", "agree"),
    (evidence(answer="Lyon", closed=CLOSED), None, "disagree"),
    (evidence(answer="I don't know.", closed=CLOSED), None, "open_refused"),
    (evidence(closed=Evidence("I don't know.")), None, "closed_refused"),
    (evidence(answer="?", closed=CLOSED), None, None),
])  # fmt: skip
def test_the_condition_of_an_answer(found, plain, contrast):
    assert (by_context(found), by_contrast(found)) == (plain, contrast)


def test_passages_have_a_confidence_and_a_threshold_of_their_own():
    gate = Gate(policy())
    without, within = gate.decide(evidence(context=False)), gate.decide(evidence(context=True))
    assert (without.decision, without.threshold) == ("answer", 0.6)
    assert (within.decision, within.reason, within.threshold) == ("abstain", "below_threshold", 0.9)
    assert within.score == without.score
    assert within.confidence < without.confidence


def test_an_answer_of_no_condition_is_unmeasured_and_passes_nowhere():
    only = policy(conditions(none=Group(0.1)))
    for found in (evidence(), evidence(context=True)):
        decision = Gate(only).decide(found)
        assert (decision.decision, decision.reason) == ("abstain", "unmeasured")
    assert isinstance(only.read_scores([-0.1]), Unmeasured)
    assert isinstance(only.read_scores([-0.1], "context"), Unmeasured)
    assert not isinstance(only.read_scores([-0.1], "none"), Unmeasured)


def test_a_group_without_a_threshold_withholds_and_the_routes_own_stands_over_all():
    made = policy(conditions(none=Group(0.1), context=Group(None)))
    assert Gate(made).decide(evidence(context=True)).decision == "abstain"
    assert Gate(made, threshold=0.0).decide(evidence(context=True)).decision == "answer"
    with pytest.raises(GatingError, match="has none"):
        Gate(policy(conditions(none=Group(None)), threshold=None))


def test_the_limit_is_the_highest_and_tightening_lowers_none():
    gate = Gate(policy(conditions(none=Group(0.6, certificate()), context=Group(0.9), other=Group(None))))
    assert gate.limit == 0.9
    groups = tightened(gate, 0.7).rule.conditions.groups
    assert {name: group.threshold for name, group in groups.items()} == {
        "none": 0.7,
        "context": 0.9,
        "other": None,
    }
    assert not tightened(gate, 0.7).certified(evidence=evidence(context=False))
    assert tightened(Gate(gate.rule, threshold=0.5), 0.7).threshold == 0.7
    plain = Gate(policy(conditions=None))
    assert (tightened(plain, 0.7).threshold, tightened(plain, 0.1).threshold) == (0.7, 0.6)
    assert tightened(Gate(Uncalibrated(SCORERS["mean_logprob"], -1.0)), 0.7).threshold is None


def test_a_certificate_never_covers_a_group_that_it_was_not_made_for():
    made = policy(conditions(none=Group(0.6, certificate()), context=Group(0.9)))
    gate = Gate(made)
    assert gate.certified(evidence=evidence(context=False))
    assert not gate.certified(evidence=evidence(context=True))
    assert not gate.certified(evidence=evidence())
    assert not gate.certified()
    assert not gate.certified(0.9, evidence=evidence(context=False))
    assert not Gate(made, threshold=0.7).certified(evidence=evidence(context=False))
    every = policy(conditions(none=Group(0.6, certificate()), context=Group(0.6, certificate())))
    assert Gate(every).certified()


def test_labels_that_do_not_speak_of_passages_certify_none():
    plain = policy(certificate=certificate(), conditions=None)
    assert Gate(plain).certified(evidence=evidence())
    assert Gate(plain).certified(evidence=evidence(context=False))
    assert not Gate(plain).certified(evidence=evidence(context=True))


def test_an_answer_is_settled_early_only_where_no_condition_would_let_it_pass():
    lenient = early_abstention(Gate(policy(conditions(none=Group(0.0), context=Group(1.0)))), max_tokens=4)()
    lenient.add([-9.0, -9.0])
    assert not lenient.settled
    strict = early_abstention(Gate(policy(conditions(none=Group(0.99), context=Group(0.99)))), max_tokens=4)()
    strict.add([-9.0, -9.0])
    assert strict.settled
    assert (
        early_abstention(Gate(policy(conditions(none=Group(None))), threshold=0.5)) is None
    )  # a mean of unknown length
    request = Gate(policy(conditions(none=Group(0.5), context=Group(None))))
    assert early_abstention(request, max_tokens=4, threshold=0.99) is not None


def test_it_is_saved_and_loaded_and_an_older_reader_would_refuse_it():
    made = policy(conditions(none=Group(0.6, certificate(), 200), context=Group(None, n=3)))
    saved = json.loads(json.dumps(made.to_dict(), allow_nan=False))
    assert saved["version"] == 2
    again = Policy.load(saved)
    assert again.conditions.groups == made.conditions.groups
    for found in (evidence(context=False), evidence(context=True)):
        assert again.read(found) == made.read(found)
    assert again.needs == {"logprobs"}
    assert replace(made, conditions=replace(made.conditions, by="contrast")).needs == {
        "logprobs",
        "closed_book",
    }


def broken(change):
    saved = json.loads(json.dumps(policy().to_dict()))
    change(saved["conditions"])
    return saved


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.update(by="mood"), "conditions.by: must be one of context, contrast"),
    (lambda c: c.update(groups={}), "conditions.groups: at least one group is needed"),
    (lambda c: c["groups"]["none"].update(threshold=2), "threshold 2.0 is not in"),
    (lambda c: c["groups"]["none"].update(n=-1), "groups.none.n"),
    (lambda c: c["groups"]["none"].update(threshold=None, certificate=certificate().to_dict()), "without a threshold"),
    (lambda c: c["calibrator"].update(version=9), "conditions.calibrator: "),
])  # fmt: skip
def test_what_is_broken_is_refused(change, message):
    with pytest.raises(GatingError, match=message):
        Policy.load(broken(change))


# Tuning


def graded(n=600, seed=0, *, inflate=2.0, tell=True, closed=False):
    """Answers without passages follow their logprobs; with passages those are inflated and mostly wrong."""
    rng = np.random.default_rng(seed)
    made = Collector()
    for row in range(n):
        for context in (False, True):
            score = -rng.exponential()
            right = rng.random() < 1 / (1 + np.exp(-3 * (score + 0.7)))
            shown = score
            if context:
                right, shown = rng.random() < 0.15, score / inflate
            other = Evidence("Paris" if right or rng.random() < 0.3 else "Rome", token_logprobs=[-0.3])
            found = evidence(
                shown, context=context if tell else None, closed=other if closed and context else None
            )
            made.add(found, "correct" if right else "incorrect", str(row))
    return made.graded()


def test_tuning_gives_passages_a_group_whose_errors_it_sees():
    tuned = tune(
        graded(),
        WrongCost(1.0),
        scorers=["mean_logprob"],
        provenance=Provenance(fingerprint={"m": 1, "fields": {}}),
    )
    assert set(tuned.policy.conditions.groups) == {"none", "context"}
    figures = tuned.figures.conditions
    assert figures["none"].held_out.coverage > 0.2
    assert figures["context"].always.risk > 0.7
    assert figures["context"].held_out.coverage < 0.05
    assert tuned.to_dict()["conditions"]["none"]["threshold"] == 0.5
    whole = tuned.figures.held_out
    parts = [figures[name].held_out for name in figures]
    assert whole.wrong == sum(part.wrong for part in parts)
    assert Policy.load(json.loads(json.dumps(tuned.policy.to_dict()))).to_dict() == tuned.policy.to_dict()


def test_each_condition_is_certified_on_its_own_labels():
    tuned = tune(graded(3000), TargetRisk(0.3, 0.1), scorers=["mean_logprob"])
    groups = tuned.policy.conditions.groups
    assert groups["none"].certificate.total <= 0.8 * 3000 * 1.1
    assert groups["context"].certificate is None
    assert groups["context"].threshold is None
    assert tuned.policy.certificate == groups["none"].certificate
    assert tuned.choice.certificate is not None


def test_the_states_of_the_contrast_are_groups_too():
    tuned = tune(graded(closed=True), FixedThreshold(0.5), scorers=["mean_logprob"], by="contrast")
    assert set(tuned.policy.conditions.groups) == {"none", "agree", "disagree"}
    agree, disagree = (tuned.figures.conditions[name].always for name in ("agree", "disagree"))
    assert agree.risk < disagree.risk


def test_records_that_do_not_speak_of_passages_make_a_policy_without_conditions():
    assert tune(graded(tell=False), WrongCost(1.0)).policy.conditions is None


def test_closed_book_answers_alone_make_no_conditions_unless_they_are_asked_for():
    made = Collector()
    rng = np.random.default_rng(5)
    for row in range(200):
        right = rng.random() < 0.5
        other = CLOSED if right or rng.random() < 0.3 else Evidence("Rome", token_logprobs=[-0.2])
        label = "correct" if right else "incorrect"
        made.add(evidence(-float(rng.exponential()), closed=other if row % 10 else None), label, str(row))
    plain = tune(made.graded(), FixedThreshold(0.5), scorers=["closed_book_contrast"])
    assert plain.policy.conditions is None
    told = tune(made.graded(), FixedThreshold(0.5), scorers=["mean_logprob"], by="contrast")
    assert set(told.policy.conditions.groups) == {"agree", "disagree"}


def test_a_policy_of_one_condition_says_its_threshold():
    only = Collector()
    rng = np.random.default_rng(6)
    for row in range(100):
        label = "correct" if rng.random() < 0.5 else "incorrect"
        only.add(evidence(-float(rng.exponential()), context=True), label, str(row))
    policy = tune(only.graded(), FixedThreshold(0.4)).policy
    assert set(policy.conditions.groups) == {"context"}
    assert policy.threshold == 0.4


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(GatingError, match="is unknown; use one of context, contrast"):
        tune(graded(50), WrongCost(1.0), by="mood")
    mixed = Collector()
    for row in range(60):
        mixed.add(
            evidence(-0.1 * row, context=None if row % 2 else True),
            ("correct", "incorrect")[row % 3 == 0],
            str(row),
        )
    with pytest.raises(GatingError, match="30 of 60 records do not say"):
        tune(mixed.graded(), WrongCost(1.0))
    with pytest.raises(GatingError, match="200 of 200 records do not say"):
        tune(graded(100, tell=False), WrongCost(1.0), by="context")
    with pytest.raises(GatingError, match="do not say"):
        tune(graded(100, tell=False), WrongCost(1.0), by="contrast")


def test_a_condition_without_labels_to_choose_by_gets_no_threshold():
    made = Collector()
    rng = np.random.default_rng(3)
    for row in range(400):
        score = -rng.exponential()
        right = rng.random() < 1 / (1 + np.exp(-6 * (score + 1.5)))
        made.add(evidence(score, context=False), "correct" if right else "incorrect", str(row))
    made.add(evidence(context=True), "correct", "only")
    tuned = tune(made.graded(), TargetRisk(0.3, 0.1), scorers=["mean_logprob"])
    only = tuned.policy.conditions.groups.get("context")
    assert only is None or only.threshold is None
