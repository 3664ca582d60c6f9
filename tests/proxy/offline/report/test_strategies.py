"""Strategies: sampling modes and the cascade, compared with counts by hand and with the serving gates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gating import SCORERS, Gate, GatingError
from gating.combine import Single
from proxy.offline.report import SamplingMode, Source, cascade, figures_of, render
from proxy.offline.report.strategies import MOST_DRAWN, SamplingCosts, sampling_modes
from tests.proxy.offline.report.made import policy, record

SURE, UNSURE = -0.1, -3.0
ALWAYS = SamplingMode("none")


def voting():
    """Return a policy that answers where at least half of the samples agree."""
    made = policy(combination=Single(SCORERS["agreement_exact"]))
    least = made.calibrator.predict([0.5])[0]
    return replace(made, threshold=float(least))


def voted(row, *samples, label="correct", tokens=2):
    return (
        record(row, SURE, label, samples=list(samples))
        if tokens
        else record(row, None, label, samples=list(samples))
    )


ROWS = [
    voted(0, *["Paris"] * 4),
    voted(1, *["Lyon"] * 4, label="incorrect"),
    voted(2, "Paris", "Lyon", "Paris", "Lyon"),
    voted(3, "Lyon", "Paris", "Lyon", "Lyon", label="incorrect"),
]


def test_each_manner_decides_the_same_and_costs_its_own():
    draws = SamplingCosts(voting(), sampling_modes(0.2))
    for row in ROWS:
        draws.add(row)
    ways = draws.ways()
    assert list(ways) == ["none", "band", "sequential", "sequential, level 0.2"]
    for way in ways.values():
        assert (way.outcome.right, way.outcome.wrong, way.outcome.abstained) == (2, 0, 2)
        assert way.settled == 0.0  # the samples alone decide
    # Two of four settle a yes, three a no; the third and the fourth answer take all of them, and three.
    assert ways["none"].generations == ways["band"].generations == 5.0
    assert ways["sequential"].generations == (3 + 4 + 4 + 5) / 4
    assert ways["sequential"].tokens == ways["sequential"].generations  # each answer is of one token
    assert ways["sequential, level 0.2"].generations <= ways["sequential"].generations


def test_a_policy_without_samples_or_threshold_has_no_such_figures():
    for made in (policy(), replace(voting(), threshold=None)):
        draws = SamplingCosts(made, sampling_modes())
        draws.add(ROWS[0])
        assert draws.ways() == {}
    assert SamplingCosts(voting(), sampling_modes()).ways() == {}


def test_no_more_are_looked_at_than_tell_anything():
    draws = SamplingCosts(voting(), [ALWAYS])
    for row in range(MOST_DRAWN + 5):
        draws.add(voted(row, "Paris", label="correct" if row < MOST_DRAWN else "incorrect"))
    way = draws.ways()["none"]
    assert (way.outcome.right, way.outcome.wrong) == (MOST_DRAWN, 0)


def test_tokens_that_were_not_counted_are_not_known():
    draws = SamplingCosts(voting(), [ALWAYS])
    draws.add(ROWS[0])
    draws.add(voted(1, "Paris", tokens=0))
    assert draws.ways()["none"].tokens is None
    assert draws.ways()["none"].generations == 3.5


WEAK = [
    record(0, SURE, "correct"),
    record(1, SURE, "incorrect"),
    record(2, UNSURE, "incorrect"),
    record(3, UNSURE, "correct"),
    record(4, UNSURE, "incorrect"),
    record("only weak", SURE, "correct"),
]
STRONG = [
    record(4, UNSURE, "correct"),
    record(3, SURE, "incorrect"),
    record(2, SURE, "correct"),
    record(1, SURE, "correct"),
    record(0, UNSURE, "incorrect"),
    record("only strong", SURE, "correct"),
]


def test_a_cascade_is_the_first_gate_then_the_second():
    found = cascade(WEAK, policy(name="weak"), STRONG, policy(name="strong"), ALWAYS)
    assert found.n == 5
    first, second = found.stages
    assert (first.policy, first.reached, first.right, first.wrong) == ("weak", 5, 1, 1)
    assert (second.policy, second.reached, second.right, second.wrong) == ("strong", 3, 1, 1)
    outcomes = {name: (way.outcome.right, way.outcome.wrong) for name, way in found.ways.items()}
    assert outcomes == {"cascade": (2, 2), "first alone": (1, 1), "second alone": (2, 1)}
    costs = {name: way.generations for name, way in found.ways.items()}
    assert costs == {"cascade": 1.6, "first alone": 1.0, "second alone": 1.0}
    assert found.ways["cascade"].outcome.coverage == 0.8
    assert found.ways["cascade"].tokens == 1.6


def test_a_stage_draws_as_its_gate_would():
    strong = [one for one in STRONG if one.id != "q4"] + [voted(4, *["Paris"] * 4)]
    stronger = replace(voting(), name="strong")
    found = cascade(WEAK, policy(), strong, stronger, SamplingMode("sequential"))
    # Of three that go on two have no samples, which nothing is settled without; the third draws two of four.
    assert found.stages[1].right == 1
    assert found.ways["cascade"].generations == (5 + 3 + 2) / 5
    assert found.ways["cascade"].settled == 0.8
    assert Gate(stronger).decide(strong[-1].evidence()).served


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(GatingError, match="the files have no id in common"):
        cascade(WEAK[:1], policy(), STRONG[:1], policy(), ALWAYS)
    with pytest.raises(GatingError):
        cascade(WEAK, policy(), STRONG, policy(threshold=None), ALWAYS)


def test_the_page_shows_both():
    asked = cascade(WEAK, policy(name="<weak>"), STRONG, policy(name="strong"), ALWAYS)
    page = render(figures_of(iter(ROWS), voting(), Source("r"), level=0.2, cascade=asked))
    for said in (
        "The cost of samples",
        "sequential, level 0.2",
        "Asking a stronger route",
        "&lt;weak&gt;",
        "second alone",
    ):
        assert said in page
    without = render(figures_of(iter(WEAK), policy(), Source("r")))
    assert "The cost of samples" not in without
    assert "Asking a stronger route" not in without
