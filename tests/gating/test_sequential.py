"""Stopping early: never against what all samples would have said, or hardly, as an exact enumeration counts it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from calibrators import CALIBRATORS
from gating import SCORERS, Evidence, Gate, GatingError, Policy
from gating.combine import Logistic, Term
from gating.gate import Uncalibrated
from gating.sequential import Stop, settled, stops

PLATT = CALIBRATORS["platt"]().fit([-2.0, -1.0, 0.0, 1.0, 2.0], [0, 0, 1, 0, 1])
SAID = ["Paris", "Lyon", "the city of Paris", "I don't know."]


def joined(*names, weights=(1.0, 3.0), threshold=0.6):
    terms = tuple(Term(weight, 0.5, None) for weight in weights[: len(names)])
    combination = Logistic(tuple(SCORERS[name] for name in names), -0.5, terms)
    return Gate(Policy("p", combination, PLATT, threshold=threshold))


def answer(logprob, *samples):
    return Evidence("Paris", token_logprobs=[logprob], samples=samples)


@given(
    st.sampled_from(["agreement", "agreement_exact", "semantic_entropy", "degree", "cocoa"]),
    st.floats(-6.0, -0.001),
    st.floats(0.1, 0.9),
    st.lists(st.sampled_from(SAID), min_size=1, max_size=5),
)
def test_what_is_settled_is_what_all_the_samples_say(name, logprob, threshold, samples):
    for gate in (
        joined("mean_logprob", name, threshold=threshold),
        Gate(Uncalibrated(SCORERS[name], threshold - 0.5)),
    ):
        verdict = gate.decide(answer(logprob, *samples)).served
        for seen in range(len(samples) + 1):
            found = settled(gate, answer(logprob, *samples[:seen]), len(samples))
            assert found in (None, verdict)
        assert found is verdict


def test_the_two_sample_rule_is_settled_by_the_one_sample():
    gate = Gate(Uncalibrated(SCORERS["agreement"], 0.5))
    assert settled(gate, answer(-1.0), 1) is None
    assert settled(gate, answer(-1.0, "Paris"), 1) is True
    assert settled(gate, answer(-1.0, "Lyon"), 1) is False
    assert settled(gate, answer(-1.0, "Lyon"), 5) is None
    assert settled(gate, answer(-1.0, "Lyon", "Lyon", "Lyon"), 5) is False


def test_nothing_is_settled_where_it_is_unmeasured_or_only_observed():
    assert settled(Gate(Uncalibrated(SCORERS["agreement"])), answer(-1.0, "Paris"), 1) is None
    assert settled(joined("mean_logprob", "agreement"), Evidence("Paris"), 5) is None


def test_the_requests_threshold_counts():
    gate = joined("mean_logprob", "agreement")
    assert settled(gate, answer(-1.0), 5, threshold=0.0) is True
    assert settled(gate, answer(-1.0), 5, threshold=1.0) is False


def test_more_samples_than_there_are_is_refused():
    for k, samples in ((1, ["a", "b"]), (0, [])):
        with pytest.raises(
            GatingError, match=f"k: must be at least 1 and at least the {len(samples)} samples drawn"
        ):
            settled(joined("mean_logprob", "agreement"), answer(-1.0, *samples), k)


def chance_of_error(k, needed, total, found):
    """By counting every order of the votes: the share in which stopping says other than all of them do."""
    wrong = orders = 0
    for agreeing in itertools.combinations(range(k), total):
        seen = 0
        for j, stop in enumerate(found, 1):
            seen += j - 1 in agreeing
            if seen <= stop.fail or seen >= stop.succeed:
                wrong += (seen >= stop.succeed) != (total >= needed)
                break
        else:
            raise AssertionError("it must stop at the last vote")
        orders += 1
    return wrong / orders


@pytest.mark.parametrize("level", [0.0, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_errors_of_a_stop_are_within_the_level(k, level):
    for needed in range(1, k + 1):
        found = stops(k, needed, level)
        errors = [chance_of_error(k, needed, total, found) for total in range(k + 1)]
        assert max(errors) <= level + 1e-12
        assert len(found) == k


def test_at_level_zero_it_stops_when_nothing_can_change():
    for j, stop in enumerate(stops(7, 4, 0.0), 1):
        assert stop.succeed == min(4, j + 1)
        assert stop.fail == max(j - 4, -1)


def test_a_greater_level_stops_no_later_and_at_last_earlier():
    exact, loose = stops(9, 5, 0.0), stops(9, 5, 0.1)
    assert all(b.fail >= a.fail and b.succeed <= a.succeed for a, b in zip(exact, loose, strict=True))
    assert loose[2] == Stop(
        0, 3
    )  # three of the same kind: by scipy the chance under the other total is 1 in 21
    assert hypergeom(9, 4, 3).sf(2) == pytest.approx(1 / 21)


@pytest.mark.parametrize("wrong", [(5, 0, 0.1), (5, 6, 0.1), (5, 3, 1.0), (5, 3, -0.1), (5, 3, math.nan)])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(GatingError, match="stops: 1 <= needed"):
        stops(*wrong)
