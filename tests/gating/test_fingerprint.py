"""What a policy learns from the request fields of its labels, and how it compares requests with them."""

from __future__ import annotations

import numpy as np
import pytest

from gating import Evidence, GatingError
from gating.fingerprint import (
    COMBINATIONS,
    FIELDS,
    Difference,
    answered_by_other,
    cut_differs,
    described,
    differences,
    is_complete,
    learn,
    same,
    settings,
    without_answer,
)
from gating.tuning import Collector, WrongCost, tune

COLD, WARM, RARE = {"temperature": 0}, {"temperature": 1, "top_p": 0.5}, {"temperature": 2}


def test_values_mean_the_same_across_number_types_and_no_boolean_is_a_number():
    assert same(1, 1.0)
    assert not same(1, True)
    assert not same(0, None)
    assert same(None, None)


def test_what_was_constant_is_pinned_and_what_varied_is_listed_with_its_counts():
    kinds = [{"system": "sha256:1", **COLD}, {"system": "sha256:1", **WARM}, {"system": "sha256:1", **RARE}]
    learnt = learn(kinds, {"fit": [20, 30, 19], "certify": [5, 6, 7]})
    assert learnt.fields == {"system": "sha256:1"}
    assert learnt.kept == {0, 1}
    assert learnt.combinations == [
        {"values": {"temperature": 0, "top_p": None}, "labels": {"fit": 20, "certify": 5}},
        {"values": {"temperature": 1, "top_p": 0.5}, "labels": {"fit": 30, "certify": 6}},
    ]


def test_one_kind_of_request_needs_no_least_number():
    assert learn([COLD], {"fit": [3]}).fields == COLD
    assert learn([COLD, WARM], {"fit": [19, 19]}) is None


def test_a_request_matches_a_listed_combination_or_differs_from_the_closest():
    fitted = {
        "model": "m", FIELDS: {"stop": "x"}, COMBINATIONS: [
            {"values": {"temperature": 0, "top_p": None}}, {"values": {"temperature": 1, "top_p": 0.5}},
        ],
    }  # fmt: skip
    assert differences(fitted, {"model": "m", FIELDS: {"stop": "x", "temperature": 0}}) == ()
    found = differences(fitted, {"model": "m", FIELDS: {"stop": "x", "temperature": 1}})
    assert len(found) == 1
    (other,) = differences(fitted, {"model": "n", FIELDS: {"stop": "x", "temperature": 0}})
    assert str(other) == "model: n; the policy was fitted with m"


def test_a_field_that_the_fit_did_not_have_differs():
    (found,) = differences({FIELDS: {}}, {FIELDS: {"foo": [1]}})
    assert str(found) == "foo: [1]; the policy was fitted with no value"
    assert differences({FIELDS: {}}, {FIELDS: {"foo": [1]}}, ignored=("foo",)) == ()
    assert differences({}, {FIELDS: {"foo": 1}}) == ()


def test_a_length_limit_is_compared_only_for_an_answer_that_it_cut_off():
    assert differences({FIELDS: {}}, {FIELDS: {"max_tokens": 5}}) == ()
    assert cut_differs({FIELDS: {"max_tokens": 5}}, 5) is None
    assert cut_differs({"model": "m"}, 5) is None
    assert cut_differs({FIELDS: {}}, 5) == Difference("max_tokens", 5, "no answer cut off")
    assert cut_differs({FIELDS: {}, COMBINATIONS: [{"values": {"max_tokens": 9}}]}, 9) is None
    assert cut_differs({FIELDS: {"max_tokens": 7}}, 5) == Difference("max_tokens", 5, 7)


def test_the_model_that_answered_is_compared_where_the_labels_say_it():
    assert answered_by_other({"answered_by": ["a"]}, "b")
    assert not answered_by_other({"answered_by": ["a"]}, "a")
    assert not answered_by_other({}, "b")


def test_a_run_is_continued_whatever_its_questions_hold():
    made = {"model": "m", "answered_by": ["x"], FIELDS: {"temperature": 0, "system": "s", "max_tokens": 3}}
    assert without_answer(made) == {"model": "m", FIELDS: {"temperature": 0}}
    assert without_answer({"model": "m"}) == {"model": "m"}
    assert settings(made) == {"model": "m"}
    assert (is_complete(made), is_complete({"model": "m"})) == (True, False)


def test_a_fingerprint_is_described_line_by_line():
    found = described(
        {
            "model": "m", "answered_by": ["m-1"], FIELDS: {"stop": "x"}, COMBINATIONS: [
                {"values": {"temperature": None}, "labels": {"fit": 20}}, {"values": {"temperature": 1}},
            ],
        }
    )  # fmt: skip
    assert found == {
        "model": "m",
        "stop": "x",
        "answered by": "m-1",
        "requests 1": "temperature no value (20 fit)",
        "requests 2": "temperature 1",
    }


def labels(*kinds):
    """Return graded answers: some of each kind of request, half of them right."""
    rng = np.random.default_rng(0)
    collector = Collector()
    for fields, count in kinds:
        for number in range(count):
            value = float(rng.uniform(-3, 0))
            evidence = Evidence("Paris", token_logprobs=[value])
            label = "correct" if rng.random() < 1 + value / 3 else "incorrect"
            collector.add(evidence, label, f"{fields}{number}", fields=fields)
    return collector.graded()


def test_tuning_drops_labels_of_rare_combinations_and_lists_the_others():
    tuned = tune(labels((COLD, 200), (WARM, 200), (RARE, 10)), WrongCost(1.0), scorers=["mean_logprob"])
    found = tuned.policy.fingerprint
    assert found[FIELDS] == {}
    assert [each["values"] for each in found[COMBINATIONS]] == [
        {"temperature": 0, "top_p": None}, {"temperature": 1, "top_p": 0.5},
    ]  # fmt: skip
    assert sum(map(len, tuned.splits.values())) == 400


def test_a_system_prompt_that_varied_freely_is_named_and_matches_none():
    kinds = [({**COLD, "system": f"sha256:{number}"}, 10) for number in range(30)]
    fitted = tune(labels(*kinds), WrongCost(1.0), scorers=["mean_logprob"]).policy
    assert fitted.fingerprint[FIELDS] == {"temperature": 0, "system": "any of several"}
    live = {FIELDS: {"temperature": 0, "system": "sha256:1"}}
    assert not fitted.matches(live)
    assert fitted.differences(live, ignored=("system",)) == ()


def test_tuning_refuses_labels_of_which_no_combination_is_common():
    kinds = [({"temperature": number}, 5) for number in range(20)]
    with pytest.raises(GatingError, match="20 different combinations of request fields"):
        tune(labels(*kinds), WrongCost(1.0), scorers=["mean_logprob"])


@pytest.mark.parametrize(
    ("counts", "kept"), [([12, 3], {0}), ([3, 12], {1}), ([8, 8], None), ([5, 4, 4], None)]
)
def test_with_few_labels_the_kind_of_most_of_them_is_kept_alone(counts, kept):
    kinds = [{"temperature": number} for number in range(len(counts))]
    learnt = learn(kinds, {"fit": counts})
    assert (None if learnt is None else learnt.kept) == kept
    if learnt is not None:
        assert learnt.combinations == []
        assert learnt.fields == kinds[min(kept)]
