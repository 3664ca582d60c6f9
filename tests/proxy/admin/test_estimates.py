"""The estimates hold for the whole sample, whichever part was labelled first, and never claim a certificate."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.admin.estimates import Estimates, Seen, sentence
from proxy.admin.policy_changes import with_threshold
from proxy.exceptions import BadRequest
from tests.e2e.conftest import certified_policy


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0, 1, n)
    return confidence, rng.random(n) < confidence


def test_a_full_sample_gives_plain_counts():
    confidence, correct = sample(400)
    found = Estimates.of(
        Seen(float(c), "correct" if right else "incorrect")
        for c, right in zip(confidence, correct, strict=True)
    ).at(0.7)
    served = confidence >= 0.7
    assert found.coverage == pytest.approx(served.mean())
    assert found.risk == pytest.approx((~correct)[served].mean())
    assert (found.errors, found.answered) == ((~correct)[served].sum(), served.sum())
    assert found.low < found.risk < found.high


def test_labelling_the_unsure_first_does_not_bend_it():
    """Only a tenth of the answers far from the threshold are labelled, so an unweighted mean would be wrong."""
    confidence, correct = sample(40_000)
    near = np.abs(confidence - 0.5) < 0.15
    has = near | (np.random.default_rng(1).random(confidence.size) < 0.1)
    seen = [
        Seen(float(c), ("correct" if right else "incorrect") if label else None)
        for c, right, label in zip(confidence, correct, has, strict=True)
    ]
    truth = (~correct)[confidence >= 0.4].mean()
    plain = (~correct)[(confidence >= 0.4) & has].mean()
    found = Estimates.of(seen).at(0.4).risk
    assert abs(plain - truth) > 0.08
    assert found == pytest.approx(truth, abs=0.02)


def test_what_was_declined_or_not_measured_is_not_answered():
    seen = [Seen(0.9, "correct"), Seen(0.9, "abstained"), Seen(None, "incorrect"), Seen(0.1, None)]
    estimates = Estimates.of(seen)
    found = estimates.at(0.5)
    assert (found.coverage, found.risk, found.errors, found.answered) == (0.25, 0.0, 0, 1)
    assert estimates.n == 1
    assert estimates.withheld(0.95) == (1, 0)


def test_the_threshold_in_force_is_a_point_and_alone_is_called_certified():
    estimates = Estimates.of([Seen(0.9, "correct"), Seen(0.2, "incorrect")])
    curve = estimates.curve(0.7342, 0.05)
    assert [point.threshold for point in curve if "certified ≤ 5.0 %" in point.words] == [0.7342]
    assert len(curve) == 102
    assert curve == [
        estimates.at(point.threshold, 0.05 if point.threshold == 0.7342 else None) for point in curve
    ]


def test_words():
    assert (
        sentence(0.82, 0.031, 0.02, 0.044, 0.05)
        == "Answers 82 %, wrong 3.1 % of them (2.0 to 4.4 %), certified ≤ 5.0 %."
    )
    assert "not known" in sentence(0.5, None, 0.0, 1.0, None)
    assert sentence(0.0, None, 0.0, 1.0, None) == "Answers nothing, not certified."
    assert sentence(None, None, 0.0, 1.0, None) == "Nothing is known yet: the audit sample is empty."
    empty = Estimates.of([])
    assert empty.at(0.5).risk is None
    assert empty.quality().auroc is None


def test_a_certificate_goes_with_its_threshold():
    saved = certified_policy().to_dict()
    assert with_threshold(saved, 0.8) == saved
    for threshold in (0.79, 0.81, 1.0):  # a stricter one neither: fewer answers may be the worse ones
        changed = with_threshold(saved, threshold)
        assert (changed["threshold"], changed["certificate"]) == (threshold, None)
        assert {**changed, "threshold": 0.8, "certificate": saved["certificate"]} == saved
    with pytest.raises(BadRequest, match="threshold"):
        with_threshold(saved, 1.1)


def test_a_condition_that_is_stricter_stays_so():
    from gating.conditions import Group
    from tests.gating.conditional import conditions, policy

    made = policy(conditions(none=Group(0.6), context=Group(0.9), other=Group(None)))
    for threshold, expected in ((0.4, (0.4, 0.9)), (0.95, (0.95, 0.95))):
        groups = with_threshold(made.to_dict(), threshold)["conditions"]["groups"]
        assert (groups["none"]["threshold"], groups["context"]["threshold"]) == expected
        assert groups["other"]["threshold"] is None
