"""The policy: reading evidence, its saved form, and what it refuses to load."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Evidence, GatingError, Policy, Unmeasured
from gating.combine import Logistic, Single, Term
from gating.risk import upper_bound
from gating.scorers import FeatureScorer

PARIS = Evidence("Paris", token_logprobs=[-0.1, -0.3], features={"judge": 0.7})


def calibrator(kind="platt"):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=300) * 2
    return CALIBRATORS[kind]().fit(scores, (rng.random(300) < 1 / (1 + np.exp(-scores))).astype(float))


def certificate(**changes):
    counts = {"errors": 3, "answered": 120, "total": 200}
    values = {"target_risk": 0.1, "delta": 0.1, **counts, "bound": upper_bound(3, 120, 0.1)}
    return Certificate(**{**values, "splits": {"certify": 200}, "created": "2026-01-02", **changes})


def policy(**changes):
    values = {
        "name": "support",
        "combination": Single(SCORERS["mean_logprob"]),
        "calibrator": calibrator(),
        "threshold": 0.8,
        "certificate": certificate(),
        "fingerprint": {"model": "m", "temperature": 0.0},
        "created": "2026-01-02T03:04:05Z",
        "fitted_on": {"fit": 100, "certify": 200},
    }
    return Policy(**{**values, **changes})


def several():
    scorers = (SCORERS["mean_logprob"], FeatureScorer("judge", "probability"))
    return policy(combination=Logistic(scorers, 0.1, (Term(1.0, 0.5, None), Term(0.5, 0.0, -0.25))))


def saved(make=policy):
    return json.loads(json.dumps(make().to_dict(), allow_nan=False))


def test_one_scorer_keeps_its_own_score():
    read = policy().read(PARIS)
    assert read.score == pytest.approx(-0.2)
    p = math.exp(-0.2)
    wanted = calibrator().predict(np.array([math.log(p / (1 - p))]))[0]
    assert read.confidence == policy().confidence(PARIS) == pytest.approx(wanted)


def test_several_scorers_report_the_combinations_score():
    made = several()
    read = made.read(PARIS)
    assert read.score == made.combination.read(PARIS).score
    assert read.confidence == pytest.approx(calibrator().predict(np.array([read.score]))[0])
    assert made.needs == {"logprobs", "features"}


@pytest.mark.parametrize("make", [policy, several])
def test_scores_that_were_read_before_mean_the_same(make):
    scores = [scorer.score(PARIS) for scorer in make().scorers]
    assert make().read_scores(scores) == make().read(PARIS)
    assert isinstance(make().read_scores([Unmeasured("none")] * len(scores)), Unmeasured)


def test_unmeasured_evidence_has_no_confidence():
    assert policy().confidence(Evidence("Paris")) == Unmeasured("no token logprobs")


class Fixed:
    """A calibrator or a scorer from elsewhere that gives what it is told."""

    name, scale, needs = "fixed", "real", frozenset()

    def __init__(self, value):
        self.value = value

    def predict_one(self, _score):
        return self.value

    def score(self, _evidence):
        return self.value


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_is_unmeasured(value):
    assert isinstance(policy(calibrator=Fixed(value)).confidence(PARIS), Unmeasured)


def test_a_nan_score_is_unmeasured():
    assert policy(combination=Single(Fixed(math.nan))).confidence(PARIS) == Unmeasured("the score is NaN")


def test_an_empty_fingerprint_applies_anywhere():
    assert policy(fingerprint={}).matches({"model": "x"})


@pytest.mark.parametrize(
    ("live", "applies"),
    [
        ({"model": "m", "temperature": 0.0, "more": 1}, True),
        ({"model": "m", "temperature": 0.7}, False),
        ({"model": "m"}, False),
        ({"model": "m", "temperature": None}, False),
        ({}, False),
    ],
)
def test_every_key_of_the_fingerprint_must_be_equal(live, applies):
    assert policy().matches(live) is applies


def test_a_key_that_is_absent_is_not_none():
    assert not policy(fingerprint={"seed": None}).matches({})


def test_how_samples_are_drawn_matters_to_what_reads_them():
    made_with = {"model": "m", "samples": 5, "sample_temperature": 0.8}
    assert policy(fingerprint=made_with).matches({"model": "m"})
    assert not policy(fingerprint=made_with).matches({"model": "n"})
    reads = policy(fingerprint=made_with, combination=Single(SCORERS["agreement"]))
    assert reads.matches({**made_with, "temperature": 0.0})
    assert not reads.matches({**made_with, "samples": 3})
    assert not reads.matches({"model": "m"})


def test_what_makes_vectors_matters_to_what_reads_them():
    made_with = {"model": "m", "samples": 5, "embeddings": "minilm"}
    by_words = policy(fingerprint=made_with, combination=Single(SCORERS["agreement"]))
    by_vectors = policy(fingerprint=made_with, combination=Single(SCORERS["agreement_embedding"]))
    other = {**made_with, "embeddings": "openai/text-embedding-3-small"}
    assert by_words.matches(other)
    assert by_vectors.matches(made_with)
    assert not by_vectors.matches(other)


@pytest.mark.parametrize("make", [policy, several, lambda: policy(certificate=None, threshold=None)])
def test_saved_and_loaded_it_is_the_same(make):
    loaded = Policy.load(saved(make))
    assert loaded.to_dict() == make().to_dict()
    assert loaded.read(PARIS) == make().read(PARIS)
    assert loaded.certificate == make().certificate


@pytest.mark.parametrize("kind", sorted(CALIBRATORS))
@given(st.lists(st.floats(-20, 0), min_size=1, max_size=5))
def test_every_calibrator_travels(kind, logprobs):
    made = policy(calibrator=calibrator(kind))
    evidence = Evidence("Paris", token_logprobs=logprobs)
    assert Policy.load(made.to_dict()).read(evidence) == made.read(evidence)


def test_the_contracts_keys_are_there_and_unknown_ones_are_left_aside():
    keys = {"version", "name", "scorers", "calibrator", "threshold", "certificate", "fingerprint"}
    assert keys <= set(saved())
    assert Policy.load({**saved(), "note": "by hand"}).name == "support"


def test_a_certificate_of_other_answers_is_refused():
    """A policy whose fingerprint is edited has a certificate that no longer belongs to it."""
    signed = saved()
    signed["certificate"]["fingerprint"] = dict(signed["fingerprint"])
    assert Policy.load(signed).certificate.fingerprint == signed["fingerprint"]
    with pytest.raises(
        GatingError, match=r"policy.certificate.fingerprint: differs from the policy's fingerprint"
    ):
        Policy.load({**signed, "fingerprint": {"model": "another"}})


@pytest.mark.parametrize("key", sorted(saved()))
def test_a_missing_key_is_named(key):
    broken = saved()
    del broken[key]
    with pytest.raises(GatingError, match=rf"^policy\.{key}: is missing; tune the policy again"):
        Policy.load(broken)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", 2, "policy.conditions: is missing"),
        ("version", True, "policy.version: must be 1"),
        ("name", 3, "policy.name: must be a string"),
        ("threshold", math.nan, "policy.threshold: must be a finite number, not nan"),
        ("threshold", 1.5, r"policy.threshold: must be a number in \[0, 1\], not 1.5"),
        ("threshold", "0.8", "policy.threshold: must be a finite number"),
        ("threshold", True, "policy.threshold: must be a finite number"),
        ("threshold", None, "policy.certificate: there is a certificate but no threshold"),
        ("scorers", {}, "policy.scorers: must be a list of strings"),
        ("scorers", [], "policy.combination: kind single takes one scorer, not 0"),
        ("scorers", [{"name": "mean_logprob"}], "policy.scorers: must be a list of strings"),
        ("scorers", ["mean_logprop"], "policy.scorers: must be names among mean_logprob, "),
        ("features", [], "policy.features: must be an object"),
        ("features", {"mean_logprob": "real"}, "policy.features.mean_logprob: a feature must not have"),
        ("combination", "single", "policy.combination: must be an object"),
        ("combination.kind", "product", "policy.combination.kind: must be one of single, logistic"),
        ("calibrator", None, "policy.calibrator: must be an object"),
        ("calibrator.kind", "oracle", "policy.calibrator: .*oracle"),
        ("calibrator.version", 99, "policy.calibrator: .*99"),
        ("calibrator.slope", math.nan, "policy.calibrator: .*nan"),
        ("certificate.errors", -1, "policy.certificate.errors: must be a whole number from 0 to"),
        ("certificate.errors", 1.0, "policy.certificate.errors: must be a whole number from 0 to"),
        ("certificate.errors", True, "policy.certificate.errors: must be a whole number from 0 to"),
        ("certificate.errors", 121, "do not nest"),
        ("certificate.bound", math.nan, "policy.certificate.bound: must be a finite number"),
        ("certificate.bound", 0.04, "policy.certificate.bound: must be at least 0.05"),
        ("certificate.target_risk", 0.02, "above its target"),
        ("certificate.splits.certify", "all", "policy.certificate.splits.certify: must be a whole number"),
        ("fingerprint", [], "policy.fingerprint: must be an object"),
        ("fitted_on.fit", None, "policy.fitted_on.fit: must be a whole number"),
    ],
)
def test_what_is_broken_is_refused(path, value, message):
    broken = saved()
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = broken
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(GatingError, match=message):
        Policy.load(broken)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bias", math.inf, "policy.combination.bias: must be a finite number"),
        ("terms", {}, "policy.combination.terms: must be a list"),
        ("terms", [], "has 0 terms for 2 scorers"),
        ("terms", [{"weight": math.nan}] * 2, r"policy.combination.terms\[0\].weight: must be a finite"),
        ("terms", [{"weight": -1, "centre": 0, "missing": 0}] * 2, "weight must be >= 0"),
        ("terms", [{"weight": 1, "centre": 0, "missing": math.nan}] * 2, r"missing: must be a finite"),
        ("terms", [{"weight": 1, "centre": 0}] * 2, r"terms\[0\].missing: is missing"),
    ],
)
def test_a_broken_combination_is_refused(key, value, message):
    broken = copy.deepcopy(several().to_dict())
    broken["combination"][key] = value
    with pytest.raises(GatingError, match=message):
        Policy.load(broken)


def test_scorers_are_names_and_features_say_their_scale():
    assert saved(several)["scorers"] == ["mean_logprob", "judge"]
    assert saved(several)["features"] == {"judge": "probability"}


def test_a_feature_of_an_unknown_scale_is_refused():
    broken = saved(several)
    broken["features"]["judge"] = "percent"
    with pytest.raises(GatingError, match=r"policy.features.judge: must be one of logprob, "):
        Policy.load(broken)


def test_what_is_no_object_is_refused():
    with pytest.raises(GatingError, match="policy: must be an object"):
        Policy.load([])
