from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special, stats

from gating.drift import kolmogorov_smirnov, level_of_look, population_stability
from gating.drift.shift import LEAST, chi_squared_sf, kolmogorov_sf
from gating.types import GatingError

# Steps of 1/64 bring ties.
SAMPLE = arrays.arrays(np.float64, st.integers(LEAST, 120), elements=st.integers(0, 64).map(lambda k: k / 64))


@given(SAMPLE, SAMPLE)
def test_the_distance_is_scipys_and_the_p_value_kolmogorovs(old, new):
    ours, theirs = kolmogorov_smirnov(old, new), stats.ks_2samp(old, new, method="asymp")
    assert ours.distance == pytest.approx(theirs.statistic, abs=1e-12)
    effective = math.sqrt(old.size * new.size / (old.size + new.size))
    assert ours.p_value == pytest.approx(special.kolmogorov(effective * theirs.statistic), abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 61), (97, 150), (333, 500)])
def test_a_small_p_value_is_hardly_below_the_exact_one(n, m):
    for shift in (0.25, 0.3, 0.35):
        old, new = np.linspace(0, 1, n), np.linspace(0, 1, m) + shift
        exact = stats.ks_2samp(old, new, method="exact").pvalue
        assert kolmogorov_smirnov(old, new).p_value >= 0.995 * exact


@pytest.mark.parametrize("x", [0.0, 0.1, 0.19, 0.2, 0.21, 0.3, 0.5, 0.9, 1.5, 3.0, 10.0])
def test_kolmogorovs_distribution(x):
    assert kolmogorov_sf(x) == pytest.approx(special.kolmogorov(x), abs=1e-12)


@pytest.mark.parametrize("freedom", range(1, 21))
def test_the_chi_squared_tail(freedom):
    for x in (0.0, 1e-9, 0.5, 3.0, 9.0, 40.0, 900.0):
        assert chi_squared_sf(x, freedom) == pytest.approx(stats.chi2.sf(x, freedom), rel=1e-9, abs=1e-300)


def test_the_index_is_the_sum_that_its_name_means():
    """Against the formula on counts that numpy's histogram makes, where no bin is empty or tied."""
    rng = np.random.default_rng(0)
    old, new = rng.random(1000), rng.random(800) ** 1.3
    edges = np.quantile(old, np.arange(1, 10) / 10, method="inverted_cdf")
    bins = np.concatenate([[-np.inf], np.nextafter(edges, np.inf), [np.inf]])
    p, q = (np.histogram(values, bins)[0] + 0.5 for values in (old, new))
    p, q = p / p.sum(), q / q.sum()
    found = population_stability(old, new)
    assert found.distance == pytest.approx(np.sum((q - p) * np.log(q / p)), rel=1e-12)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.distance / (1 / 1000 + 1 / 800), 9), rel=1e-9)


@given(SAMPLE, SAMPLE)
def test_any_samples_have_a_defined_result(old, new):
    for found in (kolmogorov_smirnov(old, new), population_stability(old, new)):
        if found is not None:
            assert math.isfinite(found.distance)
            assert 0.0 <= found.p_value <= 1.0


@pytest.mark.parametrize("test", [kolmogorov_smirnov, population_stability])
def test_it_is_silent_where_nothing_changed_and_finds_what_did(test):
    """At level 0.1: no more than that among 400 pairs of like samples; most of the shifted ones."""
    rng = np.random.default_rng(1)
    like = [test(rng.beta(4, 2, 500), rng.beta(4, 2, 500)).p_value <= 0.1 for _ in range(400)]
    # 0.1 + three standard errors of 400 draws.
    assert np.mean(like) <= 0.145
    shifted = [test(rng.beta(4, 2, 500), rng.beta(3, 2, 500)).p_value <= 0.1 for _ in range(100)]
    assert np.mean(shifted) >= 0.9


def test_too_few_show_nothing():
    enough, few = np.linspace(0, 1, LEAST), np.linspace(0, 1, LEAST - 1)
    for test in (kolmogorov_smirnov, population_stability):
        assert test(enough, enough) is not None
        assert test(enough, few) is None
        assert test(few, enough) is None


def test_one_bin_has_no_index():
    same = np.full(LEAST, 0.5)
    assert population_stability(same, same) is None
    assert population_stability(same, same + 0.1).p_value < 1e-6


def test_bad_input_is_refused():
    good = np.linspace(0, 1, LEAST)
    for test in (kolmogorov_smirnov, population_stability):
        with pytest.raises(GatingError, match="current: score 0 is NaN"):
            test(good, [math.nan])
    with pytest.raises(GatingError, match="bins"):
        population_stability(good, good, bins=1)


def test_many_looks_spend_one_level():
    assert math.fsum(level_of_look(look, 0.1) for look in range(1, 10_001)) == pytest.approx(0.1, abs=1e-4)
    with pytest.raises(GatingError, match="look"):
        level_of_look(0, 0.1)
    with pytest.raises(GatingError, match="delta"):
        level_of_look(1, 0)
