"""Binomial tails and Clopper-Pearson bounds against scipy, up to a million labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from gating.risk import binomial_cdf, binomial_sf, k_max, lower_bound, upper_bound
from gating.types import GatingError

COUNTS = [(0, 1), (0, 10), (3, 10), (9, 10), (80, 1000), (0, 10**6), (90_000, 10**6), (999_999, 10**6)]


@pytest.mark.parametrize(("errors", "n"), COUNTS)
@pytest.mark.parametrize("delta", [0.5, 0.1, 1e-6])
def test_bounds_are_scipys(errors: int, n: int, delta: float) -> None:
    assert upper_bound(errors, n, delta) == pytest.approx(beta.isf(delta, errors + 1, n - errors), abs=1e-10)
    if errors:
        expected = beta.ppf(delta, errors, n - errors + 1)
        assert lower_bound(errors, n, delta) == pytest.approx(expected, abs=1e-10)


def test_nothing_is_excluded_where_nothing_was_seen() -> None:
    assert (lower_bound(0, 0, 0.1), upper_bound(0, 0, 0.1)) == (0.0, 1.0)
    assert upper_bound(7, 7, 0.1) == 1.0


@pytest.mark.parametrize("n", [1, 50, 1000, 10**6])
@pytest.mark.parametrize("p", [1e-9, 0.05, 0.5, 0.999])
def test_tails_are_scipys(n: int, p: float) -> None:
    middle = binom.ppf(0.5, n, p)
    for k in {0, int(middle * 0.99), int(middle), min(n, int(middle * 1.01) + 1), n}:
        assert binomial_cdf(k, n, p) == pytest.approx(binom.cdf(k, n, p), rel=1e-8, abs=1e-12)
        assert binomial_sf(k, n, p) == pytest.approx(binom.sf(k - 1, n, p), rel=1e-8, abs=1e-12)


def test_tails_outside_their_support() -> None:
    assert binomial_cdf(-1, 5, 0.3) == 0.0
    assert binomial_cdf(5, 5, 0.3) == 1.0
    assert (binomial_cdf(2, 5, 0.0), binomial_cdf(2, 5, 1.0)) == (1.0, 0.0)
    assert [binomial_sf(k, 5, 0.3) for k in (-1, 0, 6)] == [1.0, 1.0, 0.0]
    assert [binomial_sf(k, 5, p) for p in (0.0, 1.0) for k in (3, 6)] == [0.0, 0.0, 1.0, 0.0]
    assert binomial_cdf(10, 10**6, 0.5) == 0.0  # under the least double


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2, 0.7])
@pytest.mark.parametrize("delta", [0.001, 0.1, 0.6, 0.99])
def test_k_max_is_the_quantile(alpha: float, delta: float) -> None:
    n = np.concatenate([np.arange(1, 400), [12_345, 100_000]])
    quantile = binom.ppf(delta, n, alpha)
    expected = np.where(binom.cdf(quantile, n, alpha) <= delta, quantile, quantile - 1)
    expected = np.minimum(expected, np.ceil(n * alpha) - 1)  # only a delta above a half would allow more
    assert k_max(n, alpha, delta).tolist() == expected.tolist()


def test_k_max_of_known_sizes() -> None:
    # 0.9^22 = 0.0985 is the first power of 0.9 under 0.1: the "rule of three" for one error-free sample.
    assert k_max([0, 21, 22, 37, 38], 0.1, 0.1).tolist() == [-1, -1, 0, 0, 1]
    assert k_max(10**6, 0.1, 0.1).shape == ()
    assert k_max([], 0.1, 0.1).tolist() == []


@given(st.integers(1, 3000), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_k_max_agrees_with_the_bound(n: int, alpha: float, delta: float) -> None:
    k = int(k_max(n, alpha, delta))
    assert k < 0 or upper_bound(k, n, delta) <= alpha + 1e-12
    assert upper_bound(k + 1, n, delta) >= alpha - 1e-12


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
def test_levels_outside_the_unit_interval_are_refused(level: float) -> None:
    with pytest.raises(GatingError, match="delta is"):
        upper_bound(1, 10, level)
    with pytest.raises(GatingError, match="target risk is"):
        k_max(10, level, 0.1)


def test_counts_that_do_not_nest_are_refused() -> None:
    with pytest.raises(GatingError, match="3 errors among 2 labels"):
        upper_bound(3, 2, 0.1)
    with pytest.raises(GatingError, match="-1 errors among 2 labels"):
        lower_bound(-1, 2, 0.1)
