"""The types that travel refuse what contradicts itself."""

from __future__ import annotations

import math

import pytest

from gating import Certificate, Decision, GatingError, Unmeasured
from gating.types import RiskEstimate

FIGURES = {"target_risk": 0.1, "delta": 0.1, "errors": 3, "answered": 120, "total": 200, "bound": 0.06}


@pytest.mark.parametrize(
    "change",
    [
        {"errors": -1},
        {"errors": 121},
        {"answered": 201},
        {"errors": 0, "answered": 0},
        {"target_risk": 0.0},
        {"target_risk": math.nan},
        {"delta": 1.0},
        {"delta": math.nan},
        {"bound": math.nan},
        {"bound": 0.01},
        {"bound": 0.11},
    ],
)
def test_a_certificate_that_contradicts_itself_is_refused(change):
    with pytest.raises(GatingError, match=r"^certificate: .*tune the policy again"):
        Certificate(**{**FIGURES, **change})


def test_a_certificate_is_plain_json():
    made = Certificate(**FIGURES, splits={"certify": 200})
    assert made.to_dict() == {
        **FIGURES,
        "method": "split_walk",
        "splits": {"certify": 200},
        "created": "",
        "fingerprint": None,
    }


def test_unmeasured_is_false():
    assert not Unmeasured("no tokens")


@pytest.mark.parametrize(
    ("decision", "served"), [("answer", True), ("rescue", True), ("abstain", False), ("escalate", True)]
)
def test_served_is_an_answer_of_a_model(decision, served):
    assert Decision(decision, "confident").served is served


def test_ratios_of_nothing_are_unknown():
    assert (RiskEstimate(0, 0, 0).risk, RiskEstimate(0, 0, 0).coverage) == (None, None)
    assert (RiskEstimate(1, 4, 8).risk, RiskEstimate(1, 4, 8).coverage) == (0.25, 0.5)


@pytest.mark.parametrize("counts", [(-1, 1, 1), (2, 1, 1), (0, 2, 1)])
def test_counts_that_do_not_nest_are_refused(counts):
    with pytest.raises(GatingError, match="do not nest"):
        RiskEstimate(*counts)
