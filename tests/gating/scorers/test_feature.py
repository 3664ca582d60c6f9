"""Features, the user's own scores."""

from __future__ import annotations

import math

import pytest

from gating import Evidence, Unmeasured
from gating.scorers import FeatureScorer


def score(value, scale="real"):
    return FeatureScorer("judge", scale).score(Evidence("Paris", features={"judge": value}))


def test_a_feature_is_its_own_score():
    assert score(3) == 3.0
    assert type(score(3)) is float
    assert FeatureScorer("judge").needs == {"features"}


@pytest.mark.parametrize(
    ("value", "scale"),
    [(math.nan, "real"), (math.inf, "real"), (1.01, "probability"), (-0.01, "probability"), (0.1, "logprob")],
)
def test_what_is_off_the_scale_is_unmeasured(value, scale):
    assert isinstance(score(value, scale), Unmeasured)


def test_an_absent_feature_is_unmeasured():
    assert FeatureScorer("judge").score(Evidence("Paris")) == Unmeasured("no feature judge")
