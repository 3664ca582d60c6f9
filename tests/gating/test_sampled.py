"""Deciding with some of the samples: never against what all of them would have said."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrators import CALIBRATORS
from calibrators.groups import GroupedCalibrator
from gating import SCORERS, Evidence, Gate, Policy
from gating.combine import Logistic, Single, Term
from gating.conditions import Conditions, Group
from gating.gate import Uncalibrated
from gating.sampled import by_test, decide, drawn, fewest, is_open, reads_samples

PLATT = CALIBRATORS["platt"]().fit([-2.0, -1.0, 0.0, 1.0, 2.0], [0, 0, 1, 0, 1])
SAID = ["Paris", "Lyon", "the city of Paris", "I don't know."]


def raw(name, least):
    return Gate(Uncalibrated(SCORERS[name], least))


def joined(*names, threshold=0.6):
    terms = tuple(Term(weight, 0.5, None) for weight in (1.0, 3.0)[: len(names)])
    combination = Logistic(tuple(SCORERS[name] for name in names), -0.5, terms)
    return Gate(Policy("p", combination, PLATT, threshold=threshold))


def answer(*samples, logprob=-1.0, text="Paris"):
    return Evidence(text, token_logprobs=[logprob], samples=samples)


@given(
    st.sampled_from(["agreement", "agreement_exact", "semantic_entropy", "degree", "cocoa"]),
    st.floats(-6.0, -0.001),
    st.floats(0.1, 0.9),
    st.lists(st.sampled_from(SAID), min_size=1, max_size=5),
)
def test_what_is_decided_is_what_all_the_samples_say(name, logprob, threshold, samples):
    for gate in (joined("mean_logprob", name, threshold=threshold), raw(name, threshold - 0.5)):
        whole = gate.decide(answer(*samples, logprob=logprob))
        for seen in range(len(samples) + 1):
            evidence = answer(*samples[:seen], logprob=logprob)
            found = decide(gate, evidence, len(samples))
            assert is_open(gate, evidence, len(samples)) is (found.reason == "unmeasured")
            if found.reason != "unmeasured":
                assert found.served is whole.served
                if found.confidence is not None:
                    assert (found.confidence >= threshold) is found.served
        assert found == whole


@given(
    st.sampled_from(["agreement", "agreement_exact", "semantic_entropy", "degree", "cocoa"]),
    st.floats(-6.0, -0.001),
    st.floats(0.1, 0.9),
    st.lists(st.sampled_from(SAID), max_size=5),
)
def test_however_samples_are_drawn_the_verdict_is_that_of_all(name, logprob, threshold, samples):
    gate, whole = joined("mean_logprob", name, threshold=threshold), answer(*samples, logprob=logprob)
    counts = {}
    for wait in ("none", "band", "sequential"):
        seen = drawn(gate, whole, wait)
        assert list(seen.samples) == samples[: len(seen.samples)]
        assert decide(gate, seen, len(samples)).served is gate.decide(whole).served
        counts[wait] = len(seen.samples)
    assert counts["none"] == len(samples)
    assert counts["band"] in (0, len(samples))
    assert counts["sequential"] <= counts["band"]


def test_a_test_draws_no_more_and_nothing_is_drawn_beside_a_refusal():
    gate = raw("agreement_exact", 0.5)
    whole = answer(*["Paris"] * 20)
    few, fewer = (len(drawn(gate, whole, "sequential", level=level).samples) for level in (0.0, 0.1))
    assert (few, fewer < few) == (10, True)
    assert drawn(gate, answer("Paris", text="I don't know."), "sequential").samples == ()


def test_what_is_left_open_is_unmeasured_and_says_so():
    found = decide(raw("agreement", 0.5), answer("Paris"), 3)
    assert (found.decision, found.reason, found.score) == ("abstain", "unmeasured", None)
    assert found.detail == "2 of 3 samples are missing, and they could change the verdict"
    lenient = Gate(Uncalibrated(SCORERS["agreement"], 0.5), on_unmeasured="answer")
    assert decide(lenient, answer("Paris"), 3).decision == "answer"


@pytest.mark.parametrize(("samples", "decision", "score"), [
    (("Paris", "Paris"), "answer", 2 / 3), (("Lyon", "Lyon"), "abstain", 1 / 3),
])  # fmt: skip
def test_the_score_is_that_of_the_end_nearest_to_the_threshold(samples, decision, score):
    found = decide(raw("agreement", 0.5), answer(*samples), 3)
    assert (found.decision, found.source) == (decision, "samples")
    assert found.score == pytest.approx(score)


def test_without_a_sample_the_source_is_what_was_read():
    found = decide(raw("cocoa", -0.5), answer(logprob=-0.1), 5)
    assert (found.decision, found.source) == ("answer", "logprobs")


@pytest.mark.parametrize("evidence", [answer("Paris", text="I don't know."), answer("Paris")])
def test_what_the_gate_says_of_any_evidence_stands(evidence):
    gate = raw("agreement", 0.5)
    assert decide(gate, evidence, 3, applies=False) == gate.decide(evidence, applies=False)
    declining = answer(text="I don't know.")
    assert decide(gate, declining, 3).reason == "upstream_abstained"


def test_a_gate_that_reads_no_samples_misses_none():
    gate = raw("mean_logprob", -2.0)
    assert not reads_samples(gate)
    assert decide(gate, answer(), 3) == gate.decide(answer())


def test_a_gate_that_only_observes_wants_them_all():
    gate = Gate(Uncalibrated(SCORERS["agreement"]))
    assert decide(gate, answer("Paris", "Paris"), 3).reason == "unmeasured"
    assert decide(gate, answer("Paris", "Paris", "Lyon"), 3).reason == "off"


@pytest.mark.parametrize(("k", "samples", "wanted"), [
    (5, (), 3), (5, ("Paris",), 2), (5, ("Paris", "Lyon", "Paris"), 1), (1, (), 1), (9, (), 5),
])  # fmt: skip
def test_the_fewest_that_can_settle_a_majority(k, samples, wanted):
    assert fewest(raw("agreement", 0.5), answer(*samples), k) == wanted


def test_where_nothing_settles_it_all_are_wanted():
    assert fewest(Gate(Uncalibrated(SCORERS["agreement"])), answer(), 4) == 4


# The test at a level

VOTES = raw("agreement_exact", 0.5)


def test_a_level_stops_sooner_and_errs_no_more_often():
    """Over every order of every total, as an enumeration counts it."""
    k, level = 7, 0.1
    for total in range(k + 1):
        wrong = 0
        whole = total / k >= 0.5
        for places in itertools.combinations(range(k), total):
            said = ["Paris" if place in places else "Lyon" for place in range(k)]
            seen = next(n for n in range(k + 1) if not is_open(VOTES, answer(*said[:n]), k, level=level))
            wrong += decide(VOTES, answer(*said[:seen]), k, level=level).served is not whole
        assert wrong <= level * math.comb(k, total)
    assert fewest(VOTES, answer(), 9, level=0.3) < fewest(VOTES, answer(), 9)


def test_the_votes_needed_depend_on_the_other_scores():
    gate = joined("mean_logprob", "agreement_exact")
    rng = np.random.default_rng(0)
    for logprob in rng.uniform(-4.0, -0.01, 20):
        for agreeing in range(1, 7):
            evidence = answer(*["Paris"] * agreeing, logprob=logprob)
            tested = by_test(gate, evidence, 9, 0.2)
            certain = decide(gate, evidence, 9)
            if certain.reason != "unmeasured" and tested is not None:
                assert certain.served is tested


@pytest.mark.parametrize(("gate", "evidence", "level"), [
    (VOTES, answer("Paris", "Paris"), 0.0),
    (VOTES, answer(), 0.2),
    (raw("agreement", 0.5), answer("Paris", "Paris"), 0.2),
    (raw("agreement_exact", 1.5), answer("Paris", "Paris"), 0.2),
    (VOTES, answer("Paris", text=""), 0.2),
], ids=["no level", "no samples", "no votes", "never enough", "no words"])  # fmt: skip
def test_where_there_is_no_test(gate, evidence, level):
    assert by_test(gate, evidence, 9, level) is None


def test_an_even_vote_says_nothing_yet():
    assert by_test(VOTES, answer("Paris", "Lyon"), 9, 0.1) is None


def test_a_policy_of_one_scorer_decides_by_its_confidence():
    gate = Gate(Policy("p", Single(SCORERS["agreement"]), PLATT, threshold=0.5))
    least = next(share / 9 for share in range(10) if gate.decide(answer(*["Paris"] * share, *["Lyon"] * (9 - share))).served)  # fmt: skip # noqa: E501
    sure = decide(gate, answer(*["Paris"] * round(9 * least)), 9)
    assert (sure.decision, sure.score) == ("answer", pytest.approx(least))
    assert sure.confidence >= 0.5


def test_an_answers_condition_has_a_threshold_of_its_own():
    """What settles an answer without passages may leave one with passages open."""
    rng = np.random.default_rng(0)
    scores, names = rng.random(400), ["none", "context"] * 200
    right = (rng.random(400) < scores).astype(float)
    fitted = GroupedCalibrator().fit(scores, right, names)
    conditions = Conditions("context", fitted, {"none": Group(0.4, n=200), "context": Group(0.6, n=200)})
    policy = Policy("rag", Single(SCORERS["agreement"]), fitted.global_, threshold=0.4, conditions=conditions)
    gate = Gate(policy)
    for context, name in ((False, "none"), (True, "context")):
        limit = conditions.groups[name].threshold
        for samples in itertools.product(("Paris", "Lyon"), repeat=3):
            whole = gate.decide(Evidence("Paris", samples=samples, context=context))
            for seen in range(4):
                found = decide(gate, Evidence("Paris", samples=samples[:seen], context=context), 3)
                if found.reason != "unmeasured":
                    assert (found.served, found.threshold) == (whole.served, limit)
                    assert (found.confidence >= limit) is found.served
    unknown = decide(gate, Evidence("Paris", samples=("Paris", "Paris")), 3)
    assert (unknown.reason, unknown.served) == ("unmeasured", False)
