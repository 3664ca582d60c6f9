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
from gating.band import band
from gating.combine import Logistic, Single, Term
from gating.gate import Uncalibrated
from gating.sequential import Stop, settled, stops
from gating.types import Unmeasured

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
        with pytest.raises(GatingError, match=f"k: must be at least 1 and count the {len(samples)} samples"):
            settled(joined("mean_logprob", "agreement"), answer(-1.0, *samples), k)


@pytest.mark.parametrize("name", ["agreement", "semantic_entropy", "degree"])
def test_the_band_is_where_nothing_is_settled_before_the_first_sample(name):
    gate = joined("mean_logprob", name)
    found = band(gate, 5)
    assert -20.0 < found.low < found.high < 0.0
    for logprob in [*(-20.0 * step / 200 for step in range(201)), *found]:
        expected = None if logprob in found else logprob >= found.high
        assert settled(gate, answer(logprob), 5) is expected
    for edge in found:
        assert settled(gate, answer(edge), 5) is not settled(gate, answer(math.nextafter(edge, -math.inf)), 5)


def test_a_band_may_have_no_ends():
    open_ended = band(joined("mean_logprob", "agreement", weights=(0.0, 9.0)), 5)
    assert open_ended == (-math.inf, math.inf)
    assert -1e9 in open_ended
    assert "Paris" not in open_ended
    assert band(joined("mean_logprob", "agreement", threshold=1.0), 5) == (math.inf, math.inf)
    assert band(joined("mean_logprob", "agreement"), 5, threshold=0.0) == (-math.inf, -math.inf)


@pytest.mark.parametrize(
    "names",
    [
        ("mean_logprob",),
        ("agreement",),
        ("agreement", "degree"),
        ("mean_logprob", "cocoa"),
        ("cocoa", "degree"),
    ],
)
def test_a_band_is_of_one_scorer_beside_others_of_samples(names):
    with pytest.raises(GatingError, match="band: needs one scorer without samples"):
        band(joined(*names), 5)
    with pytest.raises(GatingError, match="not min_logprob"):
        band(Gate(Policy("p", Single(SCORERS["min_logprob"]), PLATT, threshold=0.5)), 5)


class Blind:
    """A scorer of samples that cannot say what they will do."""

    name, needs, scale = "blind", frozenset({"samples"}), "real"

    def score(self, evidence):
        return Unmeasured("blind")

    def bounds(self, evidence, k):
        return Unmeasured("blind")


def test_a_scorer_that_nothing_bounds_has_no_band():
    terms = (Term(1.0, 0.0, None), Term(1.0, 0.0, None))
    combination = Logistic((SCORERS["mean_logprob"], Blind()), 0.0, terms)
    with pytest.raises(GatingError, match="band: blind: blind"):
        band(Gate(Policy("p", combination, PLATT, threshold=0.5)), 5)


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
