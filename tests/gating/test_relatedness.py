"""Passages that speak of what is asked, told from others by a question's specific words."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating import Evidence, Gate, GatingError, Policy
from gating.conditions import GROUPINGS
from gating.relatedness import MOST_WORDS, Vocabulary, words_of
from gating.saved import Saved
from gating.tuning import Collector, WrongCost, tune
from gating.types import Words

COUNTRIES = [f"Land{n}" for n in range(60)]


def asked(country):
    return f"What is the capital of {country}?"


def passage(country):
    return f"{country} is a country. Its capital is City{country}."


def vocabulary():
    return Vocabulary.of(words_of(asked(country), [passage(country)]) for country in COUNTRIES)


def test_what_many_questions_say_is_generic():
    assert vocabulary().generic == {"what", "is", "the", "capital", "of"}


def test_a_passage_of_another_thing_holds_no_specific_word():
    found = vocabulary()
    own, other = (words_of(asked("Land7"), [passage(country)]) for country in ("Land7", "Land8"))
    assert (found.share(own), found.share(other)) == (1.0, 0.0)
    assert found.related(own)
    assert not found.related(other)
    assert found.related(words_of(asked("Land7"), [passage("Land8"), passage("Land7")]))


def test_a_question_without_specific_words_is_related_to_nothing():
    assert not vocabulary().related(words_of("What is the capital of the capital?", ["The capital."]))


def test_without_question_or_passages_there_is_nothing_to_tell():
    assert words_of(None, ["a"]) is None
    assert words_of("a", []) is None
    assert len(words_of(" ".join(map(str, range(1_000, 9_000))), ["1"]).words) == MOST_WORDS


@given(
    st.lists(
        st.sampled_from(["Paris", "paris", "Zo\u00eb", "Zoe\u0308", "1,5", "\u5317\u4eac", "of"]), max_size=12
    ),
    st.lists(st.text(st.sampled_from("ab\u00ebe\u0308-,"), max_size=8), max_size=20),
    st.sampled_from([" ", "\n", "\u00a0"]),
)
def test_words_are_the_same_however_long_the_text_is(names, others, space):
    question, passages = space.join(names), [space.join(others), space.join(names[:4])]
    whole = words_of(question, passages)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gating.relatedness.BLOCK", 5)
        patched.setattr("gating.relatedness.LONGEST_WORD", 10)
        assert words_of(question, passages) == whole


def test_what_has_no_space_is_read_too():
    assert words_of("ab", ["x" * 300_000 + " ab"]).held == (True,)


@given(st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=6, unique_by=lambda one: one[0]))
def test_the_share_is_one(pairs):
    words = Words(tuple(word for word, _ in pairs), tuple(here for _, here in pairs))
    assert 0.0 <= Vocabulary().share(words) <= 1.0


def test_the_cut_is_where_right_and_wrong_part():
    shares = np.repeat([0.0, 0.3, 0.6, 1.0], 20)
    correct = np.repeat([0.0, 0.0, 1.0, 1.0], 20)
    assert Vocabulary().with_best_cut(shares, correct).cut == 0.5
    assert Vocabulary(cut=0.75).with_best_cut(shares[:4], correct[:4]).cut == 0.75


@pytest.mark.parametrize("cut", [0.0, 1.1, float("nan")])
def test_a_cut_that_is_no_share_is_refused(cut):
    with pytest.raises(GatingError, match=r"vocabulary\.cut"):
        Vocabulary(cut=cut)


def graded():
    """Right with the own passage, wrong with another's, at the same logprobs."""
    made = Collector()
    rng = np.random.default_rng(0)
    for country in COUNTRIES:
        for name, right in (
            ("none", rng.random() < 0.4),
            (country, rng.random() < 0.95),
            ("Land-1", rng.random() < 0.1),
        ):
            words = None if name == "none" else words_of(asked(country), [passage(name)])
            found = Evidence("x", [-float(rng.exponential())], context=name != "none", words=words)
            made.add(found, "correct" if right else "incorrect", country)
    return made.graded()


def test_a_policy_tells_passages_apart_and_keeps_what_it_needs_for_it():
    tuned = tune(graded(), WrongCost(1.0), scorers=["mean_logprob"], by="passages")
    policy = Policy.load(json.loads(json.dumps(tuned.policy.to_dict(), allow_nan=False)))
    assert set(policy.conditions.groups) == {"none", "related", "unrelated"}
    gate = Gate(policy)
    assert gate.reads_words

    def decide(name):
        words = words_of(asked("Land3"), [passage(name)])
        return gate.decide(Evidence("x", [-0.5], context=True, words=words))

    assert decide("Land3").decision == "answer"
    assert decide("Land4").decision == "abstain"
    assert gate.decide(Evidence("x", [-0.5], context=True)).reason == "unmeasured"
    assert gate.decide(Evidence("x", [-0.001], context=False)).reason != "unmeasured"


def test_records_without_passages_cannot_tell_them():
    made = Collector()
    for row in range(60):
        made.add(
            Evidence("x", [-0.1 * row], context=row % 2 == 0),
            ("correct", "incorrect")[row % 3 == 0],
            str(row),
        )
    with pytest.raises(GatingError, match="and no record has both"):
        tune(made.graded(), WrongCost(1.0), by="passages")


def test_a_vocabulary_belongs_to_its_grouping():
    saved = json.loads(json.dumps(tune(graded(), WrongCost(1.0), by="passages").policy.to_dict()))
    saved["conditions"]["by"] = "context"
    with pytest.raises(GatingError, match="is required with by: passages, and only there"):
        Policy.load(saved)
    assert Vocabulary.load(Saved(vocabulary().to_dict(), "v")) == vocabulary()
    assert set(GROUPINGS) == {"context", "contrast", "passages"}
