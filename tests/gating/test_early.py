"""An answer is settled early only where nothing that may follow could still be answered."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrators import CALIBRATORS
from gating import SCORERS, Evidence, Gate, GatingError, Policy
from gating.combine import Logistic, Single, Term
from gating.early import BOUNDS, early_abstention
from gating.gate import Uncalibrated

MOST = 25
LOGPROB = st.one_of(
    st.floats(-12.0, 0.0), st.sampled_from([0.0, -1e-9, 1e-7, -9999.0, -math.inf]), st.floats(-0.05, 0.0)
)


def policy(scorer, kind):
    """Return a policy whose calibrator is fitted on the scorer's log-odds, with labels that follow them."""
    rng = np.random.default_rng(3)
    combination = Single(SCORERS[scorer])
    answers = [
        Evidence("Paris", token_logprobs=-rng.exponential(0.4, rng.integers(1, MOST))) for _ in range(300)
    ]
    log_odds = np.array([combination.read(answer).log_odds for answer in answers])
    ranks = log_odds.argsort().argsort() / len(log_odds)
    correct = (rng.random(300) < ranks).astype(float)
    return Policy("p", combination, CALIBRATORS[kind]().fit(log_odds, correct), threshold=0.5)


POLICIES = {(scorer, kind): policy(scorer, kind) for scorer in BOUNDS for kind in CALIBRATORS}


def settles_at(make, logprobs):
    """Return the number of tokens after which the abstention is settled, or None."""
    watched = make()
    for count, logprob in enumerate(logprobs, start=1):
        watched.add([logprob])
        if watched.settled:
            return count
    return None


@settings(max_examples=400)
@given(
    st.sampled_from(sorted(POLICIES)),
    st.floats(0.0, 1.0),
    st.lists(LOGPROB, min_size=1, max_size=MOST),
    st.lists(LOGPROB, max_size=MOST),
)
def test_never_settled_where_a_completion_would_have_passed(key, threshold, start, more):
    gate = Gate(POLICIES[key], threshold=threshold)
    make = early_abstention(gate, max_tokens=MOST)
    watched = make()
    watched.add(start)
    if watched.settled:
        for whole in (start, (start + more)[:MOST], start + [0.0] * (MOST - len(start))):
            assert not gate.decide(Evidence("Paris", token_logprobs=whole)).served


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(BOUNDS)),
    st.lists(LOGPROB, min_size=1, max_size=MOST),
    st.lists(LOGPROB, max_size=MOST),
)
def test_nor_by_a_raw_score_that_is_just_reached(name, start, more):
    """The threshold is the score of the very completion: the tightest there can be."""
    whole = Evidence("Paris", token_logprobs=(start + more)[:MOST])
    gate = Gate(Uncalibrated(SCORERS[name], SCORERS[name].score(whole)))
    assert gate.decide(whole).served
    watched = early_abstention(gate, max_tokens=MOST)()
    watched.add(start)
    assert not watched.settled


@given(st.sampled_from(sorted(BOUNDS)), st.lists(LOGPROB, min_size=2, max_size=MOST), st.data())
def test_chunks_of_any_size_say_the_same(name, logprobs, data):
    make = early_abstention(Gate(Uncalibrated(SCORERS[name], -1.0)), max_tokens=MOST)
    whole = make()
    whole.add(logprobs)
    cut = data.draw(st.integers(0, len(logprobs)))
    parts = make()
    parts.add(logprobs[:cut])
    parts.add(logprobs[cut:])
    assert parts.settled == whole.settled


@pytest.mark.parametrize(
    ("name", "logprobs", "count"),
    [
        ("min_logprob", [-0.1, -5.0, -0.1, -0.1], 3),
        ("sequence_logprob", [-0.4, -0.4, -0.4, -0.1], 4),
        ("first_token_logprob", [-5.0, -0.1], 2),
        ("mean_logprob", [-5.0, -5.1, -0.1, -0.1], 3),  # of ten tokens at most, 10 nats are spent
        ("tail_logprob", [-0.1, -1.1, -0.1], 3),  # of ten tokens at most: windows of one
    ],
)
def test_settled_as_soon_as_it_can_be_proved(name, logprobs, count):
    """One token later than the one that decides, which might have been the end-of-turn token."""
    make = early_abstention(Gate(Uncalibrated(SCORERS[name], -1.0)), max_tokens=10)
    assert settles_at(make, logprobs) == count


def test_settled_through_a_calibrator_and_stays_so():
    for kind in CALIBRATORS:
        watched = early_abstention(Gate(POLICIES["min_logprob", kind]))()
        watched.add([-0.01, -11.0])
        assert not watched.settled
        watched.add([-0.01])
        assert watched.settled
        watched.add([0.0] * 5)
        assert watched.settled


def test_the_end_of_turn_token_does_not_count():
    watched = early_abstention(Gate(Uncalibrated(SCORERS["min_logprob"], -1.0)))()
    watched.add([-0.1, -0.2, -7.0])
    assert not watched.settled


def test_more_tokens_than_there_can_be_prove_nothing():
    for name in ("mean_logprob", "tail_logprob"):
        watched = early_abstention(Gate(Uncalibrated(SCORERS[name], -100.0)), max_tokens=1)()
        watched.add([-0.1, -0.1, -0.1])
        assert not watched.settled


def test_a_requests_threshold_is_the_one_that_counts():
    gate = Gate(POLICIES["min_logprob", "platt"], threshold=1.0)
    logprobs = [-0.5, -0.1]
    confidence = gate.rule.confidence(Evidence("Paris", token_logprobs=logprobs))
    assert settles_at(early_abstention(gate), logprobs) == 2
    assert settles_at(early_abstention(gate, threshold=confidence / 2), logprobs) is None
    with pytest.raises(GatingError, match="threshold"):
        early_abstention(gate, threshold=math.nan)


def test_nothing_to_watch():
    least = Uncalibrated(SCORERS["min_logprob"], -1.0)
    assert early_abstention(Gate(least)) is not None
    assert (
        early_abstention(Gate(least, on_unmeasured="answer")) is None
    )  # an unmeasured continuation would be answered
    assert early_abstention(Gate(Uncalibrated(SCORERS["min_logprob"]))) is None  # it only observes
    assert early_abstention(Gate(Uncalibrated(SCORERS["mean_logprob"], -1.0))) is None  # of unknown length
    assert early_abstention(Gate(Uncalibrated(SCORERS["topk_entropy"], -1.0)), max_tokens=5) is None
    scorers = (SCORERS["min_logprob"], SCORERS["mean_logprob"])
    several = Logistic(scorers, 0.0, (Term(1.0, 0.0, None), Term(1.0, 0.0, None)))
    calibrator = POLICIES["min_logprob", "platt"].calibrator
    assert early_abstention(Gate(Policy("p", several, calibrator, threshold=0.5)), max_tokens=5) is None


class NoProbability:
    def predict_one(self, _score):
        return math.nan


def test_a_calibrator_that_cannot_tell_settles_nothing():
    gate = Gate(Policy("p", Single(SCORERS["min_logprob"]), NoProbability(), threshold=0.5))
    assert settles_at(early_abstention(gate), [-5.0, -6.0, -7.0]) is None
