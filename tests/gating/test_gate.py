"""The gate lets through what is known to be confident enough, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Decision, Evidence, Gate, GatingError, Policy
from gating.combine import Single
from gating.gate import Uncalibrated, source_of
from gating.risk import upper_bound

MEAN = SCORERS["mean_logprob"]


def evidence(*logprobs, answer="Paris"):
    return Evidence(answer, token_logprobs=list(logprobs))


@pytest.fixture(scope="module")
def policy():
    """Confidence rises from .05 to .95 with the score."""
    scores = [-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0] * 20
    correct = [index % 20 < 1 + 3 * (index % 7) for index in range(140)]
    return Policy(
        name="support",
        combination=Single(MEAN),
        calibrator=CALIBRATORS["platt"]().fit(scores, correct),
        threshold=0.6,
        certificate=Certificate(0.1, 0.1, 3, 120, 200, upper_bound(3, 120, 0.1)),
        fingerprint={"model": "m", "fields": {}},
    )


def test_confident_enough_is_answered(policy):
    found = Gate(policy).decide(evidence(-0.001))
    confidence = policy.confidence(evidence(-0.001))
    assert confidence > 0.6
    assert found == Decision("answer", "confident", confidence, 0.6, -0.001, "logprobs")


def test_below_the_threshold_is_withheld(policy):
    found = Gate(policy).decide(evidence(-4.0))
    confidence = policy.confidence(evidence(-4.0))
    assert found == Decision("abstain", "below_threshold", confidence, 0.6, -4.0, "logprobs")


def test_the_threshold_itself_passes(policy):
    confidence = policy.confidence(evidence(-1.0))
    assert Gate(policy).decide(evidence(-1.0), threshold=confidence).served
    assert not Gate(policy).decide(evidence(-1.0), threshold=math.nextafter(confidence, 1)).served


@given(st.floats(-20, 0), st.floats(0, 1))
def test_an_answer_passes_exactly_from_the_threshold_on(policy, logprob, threshold):
    found = Gate(policy, threshold=threshold).decide(evidence(logprob))
    assert found.served is (policy.confidence(evidence(logprob)) >= threshold)
    assert found.threshold == threshold


def test_a_requests_threshold_stands_over_the_routes_and_that_over_the_policys(policy):
    assert Gate(policy).limit == 0.6
    assert Gate(policy, threshold=0.7).limit == 0.7
    assert Gate(policy, threshold=0.7).decide(evidence(-0.1), threshold=0.2).threshold == 0.2
    assert Gate(policy, threshold=0.0).decide(evidence(-0.1)).threshold == 0.0


@pytest.mark.parametrize("unmeasured", ["abstain", "answer"])
def test_what_cannot_be_measured(policy, unmeasured):
    gate = Gate(policy, on_unmeasured=unmeasured)
    assert gate.decide(evidence(math.nan)) == Decision(
        unmeasured, "unmeasured", threshold=0.6, detail="a token's logprob is NaN"
    )
    mismatch = gate.decide(evidence(-0.001), applies=False)
    assert (mismatch.decision, mismatch.reason, mismatch.confidence) == (unmeasured, "unmeasured", None)


@pytest.mark.parametrize("applies", [True, False])
def test_the_models_own_i_do_not_know_is_an_abstention(policy, applies):
    for gate in (Gate(policy, on_unmeasured="answer"), Gate(Uncalibrated(MEAN))):
        found = gate.decide(evidence(-0.001, answer="I don't know."), applies=applies)
        assert found == Decision("abstain", "upstream_abstained", threshold=gate.limit)


def test_a_raw_score_is_compared_without_a_confidence():
    gate = Gate(Uncalibrated(MEAN, -0.4))
    assert gate.decide(evidence(-0.4)) == Decision("answer", "confident", score=-0.4, source="logprobs")
    assert gate.decide(evidence(-0.5)) == Decision(
        "abstain", "below_threshold", score=-0.5, source="logprobs"
    )
    assert gate.decide(evidence()).reason == "unmeasured"
    assert gate.limit is None
    assert gate.needs == {"logprobs"}


def test_without_any_threshold_it_observes():
    found = Gate(Uncalibrated(MEAN)).decide(evidence(-5.0))
    assert found == Decision("answer", "off", score=-5.0, source="logprobs")


class Broken:
    name, scale, needs = "broken", "real", frozenset()

    def score(self, _evidence):
        return math.nan


@pytest.mark.parametrize("threshold", [None, -1e300, -math.inf])
def test_a_scorers_nan_never_passes(threshold):
    found = Gate(Uncalibrated(Broken(), threshold)).decide(evidence(-0.1))
    assert (found.decision, found.reason, found.score) == ("abstain", "unmeasured", None)


@pytest.mark.parametrize("threshold", [math.nan, -0.1, 1.1, True, "0.5"])
def test_a_threshold_that_is_no_probability_is_refused(policy, threshold):
    with pytest.raises(GatingError, match=r"^threshold: must be a number in \[0, 1\]"):
        Gate(policy, threshold=threshold)
    with pytest.raises(GatingError, match=r"^threshold: must be a number in \[0, 1\]"):
        Gate(policy).decide(evidence(-0.1), threshold=threshold)


def test_a_threshold_without_a_policy_is_refused():
    with pytest.raises(GatingError, match="needs a policy"):
        Gate(Uncalibrated(MEAN, -0.4), threshold=0.5)
    with pytest.raises(GatingError, match="needs a policy"):
        Gate(Uncalibrated(MEAN, -0.4)).decide(evidence(-0.1), threshold=0.5)
    with pytest.raises(GatingError, match="NaN"):
        Uncalibrated(MEAN, math.nan)


def test_a_policy_without_a_threshold_needs_the_routes(policy):
    bare = replace(policy, threshold=None, certificate=None)
    with pytest.raises(GatingError, match="the policy support has none"):
        Gate(bare)
    assert Gate(bare, threshold=0.5).decide(evidence(-0.001)).served


def test_on_unmeasured_is_one_of_two(policy):
    with pytest.raises(GatingError, match="must be abstain or answer, not 'pass'"):
        Gate(policy, on_unmeasured="pass")


def test_certified_is_the_very_threshold_on_requests_like_the_labels(policy):
    gate = Gate(policy)
    assert gate.certified()
    assert gate.certified(0.6)
    assert Gate(policy, threshold=0.6).certified()
    assert not gate.certified(0.7)  # risk need not fall with the threshold
    assert not gate.certified(0.5)
    assert not gate.certified(applies=False)
    assert not Gate(policy, threshold=0.7).certified()
    assert not Gate(policy, on_unmeasured="answer").certified()
    assert not Gate(replace(policy, fingerprint={})).certified()
    assert not Gate(replace(policy, certificate=None)).certified()
    assert not Gate(Uncalibrated(MEAN, -0.4)).certified()


@pytest.mark.parametrize(
    ("needs", "word"),
    [
        ({"logprobs"}, "logprobs"),
        ({"top_logprobs"}, "logprobs"),
        ({"samples"}, "samples"),
        ({"samples", "logprobs"}, "logprobs+samples"),
        ({"p_true"}, "p_true"),
        ({"features"}, "none"),
        (set(), "none"),
    ],
)
def test_the_source_is_one_of_the_contracts_words(needs, word):
    assert source_of(needs) == word
