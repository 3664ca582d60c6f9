"""The rules that choose thresholds: certificates that hold, and defined results where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom

from gating.risk import k_max
from gating.rules import RULES
from gating.supported import best_supported, labels_needed
from gating.threshold import Labelled
from gating.types import GatingError
from gating.walk import Problem, ThresholdChoice, WalkStart, passing_probability, split_walk, walk
from tests.benchmarks.bench_risk import DELTA, POPULATIONS, Truth, lead, main, rate_above_delta, simulate

INF = math.inf


def draw(n: int, seed: int, population: str = "good") -> tuple[np.ndarray, np.ndarray]:
    """``n`` scores and labels of one of the benchmark's populations."""
    rng = np.random.default_rng(seed)
    u = rng.random(n)
    known = POPULATIONS[population]
    return known.score(u), rng.random(n) < known.right(u, 0.1)


def problem(
    n: int, seed: int, population: str = "good", target_risk: float = 0.1, pilot: int | None = None
) -> Problem:
    scores, correct = draw(n, seed, population)
    m = round(0.15 * n) if pilot is None else pilot
    return Problem.of(scores[:m], correct[:m], scores[m:], correct[m:], target_risk, 0.1, None)


@pytest.mark.parametrize("rule", [key for key, rule in RULES.items() if rule.valid])
@pytest.mark.parametrize("population", ["good", "tied"])
def test_a_certificate_counts_what_the_data_show(rule: str, population: str) -> None:
    scores, correct = draw(1000, 3, population)
    pilot = 150
    chosen = RULES[rule].choose(
        Problem.of(scores[:pilot], correct[:pilot], scores[pilot:], correct[pilot:], 0.1, 0.1, None)
    )
    assert chosen.threshold is not None
    assert chosen.certificate is not None
    answered = scores[pilot:] >= chosen.threshold
    errors = int((~correct[pilot:][answered]).sum())
    certificate = chosen.certificate
    assert (certificate.errors, certificate.answered, certificate.total) == (errors, answered.sum(), 850)
    assert certificate.method == rule
    assert certificate.bound == pytest.approx(beta.isf(0.1, errors + 1, answered.sum() - errors), abs=1e-12)


def test_the_naive_rule_certifies_nothing() -> None:
    threshold, certificate = RULES["naive"].choose(problem(1000, 0))
    assert not RULES["naive"].valid
    assert threshold is not None
    assert certificate is None


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_selects_from_nothing_or_from_wrong_answers(rule: str) -> None:
    choose = RULES[rule].choose
    assert choose(Problem.of((), (), (), (), 0.1, 0.1, None)) == (None, None)
    assert choose(Problem.of((), (), [-INF], [1], 0.1, 0.1, None)) == (None, None)
    wrong = np.zeros(200)
    assert choose(Problem.of(np.arange(200.0), wrong, np.arange(200.0), wrong, 0.1, 0.1, None)) == (
        None,
        None,
    )


def test_all_right_is_certified_whole() -> None:
    scores = np.linspace(0, 1, 200)
    threshold, certificate = split_walk(scores, np.ones(200), scores, np.ones(200))
    assert threshold is not None
    assert threshold < 0
    assert certificate is not None
    assert (certificate.errors, certificate.answered) == (0, 200)


@pytest.mark.parametrize(
    ("pilot", "certify"),
    [(0, 100), (100, 0), (100, 21)],  # 0.9^21 > 0.1: even error-free labels are too few
)
def test_too_few_labels_certify_nothing(pilot: int, certify: int) -> None:
    right = split_walk(np.arange(pilot), np.ones(pilot), np.arange(certify), np.ones(certify))
    assert right == ThresholdChoice(None, None)


def test_one_more_label_is_enough() -> None:
    assert split_walk([0.0], [1], np.zeros(22), np.ones(22)).certificate is not None


def test_equal_scores_share_a_verdict() -> None:
    correct = np.arange(300) % 20 > 0
    threshold, certificate = split_walk(np.zeros(100), correct[:100], np.zeros(300), correct)
    assert threshold is not None
    assert certificate is not None
    assert certificate.answered == 300


def test_minus_infinity_is_never_answered_and_infinity_is() -> None:
    scores = np.repeat([-INF, INF], 100)
    threshold, certificate = split_walk(scores, scores > 0, scores, scores > 0)
    assert threshold is not None
    assert math.isfinite(threshold)
    assert certificate is not None
    assert certificate.answered == 100


def test_traffic_lays_the_grid_but_counts_nothing() -> None:
    scores, correct = draw(1000, 1)
    labelled = (scores[:150], correct[:150], scores[150:], correct[150:])
    certificate = split_walk(*labelled, traffic_scores=np.random.default_rng(0).random(5000)).certificate
    assert certificate is not None
    assert certificate.total == 850


def test_bad_input_is_named() -> None:
    good = ([0.1, 0.2], [1, 0])
    with pytest.raises(GatingError, match="certification: score 1 is NaN"):
        split_walk(*good, [0.1, math.nan], [1, 0])
    with pytest.raises(GatingError, match="pilot: 2 scores but 1 labels"):
        split_walk([0.1, 0.2], [1], *good)
    with pytest.raises(GatingError, match="traffic: score 0 is NaN"):
        split_walk(*good, *good, traffic_scores=[math.nan])
    with pytest.raises(GatingError, match="target risk is 1"):
        split_walk(*good, *good, target_risk=1)
    with pytest.raises(GatingError, match="delta is 0"):
        split_walk(*good, *good, delta=0)


def test_a_walk_stops_at_its_first_failure() -> None:
    errors, allowed = np.array([0, 1, 2, 9, 4]), np.array([-1, 1, 2, 3, 4])
    assert walk(errors, allowed, 1) == 2
    assert walk(errors, allowed, 0) is None
    assert walk(errors, allowed, 4) == 4
    assert walk(errors, allowed, None) is None


def test_the_chance_to_pass_is_scipys_beta_binomial() -> None:
    answered = np.array([0, 30, 500, 500])
    wrong, right = np.array([1.0, 0.5, 12.0, 40.0]), np.array([19.0, 20.0, 200.0, 110.0])
    allowed = k_max(answered, 0.1, 0.1)
    expected = betabinom.cdf(allowed, answered, wrong, right)
    assert passing_probability(answered, allowed, wrong, right) == pytest.approx(expected, abs=1e-10)
    assert passing_probability(answered, np.array([0, 30, 5, 5]), wrong, right)[:2] == pytest.approx([1, 1])


@pytest.mark.parametrize("population", ["good", "easy"])
def test_the_plan_looks_at_no_certification_label(population: str) -> None:
    scores, correct = draw(600, 5, population)
    plans = [
        WalkStart.of(Problem.of(scores[:100], correct[:100], scores[100:], labels, 0.1, 0.1, None))
        for labels in (correct[100:], ~correct[100:])
    ]
    assert plans[0] == plans[1]


def test_all_answers_are_tested_first_only_where_that_has_a_chance() -> None:
    assert WalkStart.of(problem(1000, 0, "medium")).everything == 0.0
    plan = WalkStart.of(problem(1000, 0, "easy"))
    assert plan.everything == pytest.approx(0.005)
    assert plan.everything + plan.level == pytest.approx(0.1)


def test_a_pilot_that_misleads_costs_an_easy_route_nothing() -> None:
    """The wrong ones of its pilot are the most confident ones, which says that few answers are safest."""
    scores, correct = draw(1000, 0, "easy")
    order = np.argsort(scores[:150])
    correct[:150] = False
    correct[order[:138]] = True
    laid = Problem.of(scores[:150], correct[:150], scores[150:], correct[150:], 0.1, 0.1, None)
    certificate = RULES["split_walk"].choose(laid).certificate
    assert certificate is not None
    assert certificate.answered == 850


def test_where_not_all_can_be_answered_the_walk_goes_on_with_the_rest_of_delta() -> None:
    """Some pilots of this population give all answers a chance, which the certification labels deny."""
    tried = 0
    for seed in range(40):
        laid = problem(300, seed, "non-monotone", 0.2)
        if WalkStart.of(laid).everything:
            chosen = RULES["split_walk"].choose(laid)
            tried += chosen.certificate is not None and chosen.certificate.answered < len(laid.certify)
    assert tried > 5


MONOTONE = {
    "affine": lambda x: 3 * x - 7,
    "cube": lambda x: x**3,
    "logistic": lambda x: 1 / (1 + np.exp(-x / 9)),
}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(RULES)), st.integers(3, 40))
def test_the_order_of_rows_changes_nothing(seed: int, rule: str, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-distinct, distinct, 400).astype(float)
    correct = rng.random(400) < 1 / (1 + np.exp(-1.5 - 4 * scores / distinct))
    shuffled = np.concatenate([rng.permutation(100), 100 + rng.permutation(300)])

    def chosen(x: np.ndarray, y: np.ndarray) -> ThresholdChoice:
        return RULES[rule].choose(Problem.of(x[:100], y[:100], x[100:], y[100:], 0.15, 0.1, None))

    assert chosen(scores, correct) == chosen(scores[shuffled], correct[shuffled])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([key for key in RULES if not RULES[key].uses_pilot]),
    st.sampled_from(sorted(MONOTONE)),
)
def test_only_the_order_of_scores_matters(seed: int, rule: str, transform: str) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-30, 30, 400).astype(float)
    correct = rng.random(400) < 1 / (1 + np.exp(-1.5 - scores / 8))

    def answered(x: np.ndarray) -> list[bool]:
        threshold, _ = RULES[rule].choose(Problem.of((), (), x, correct, 0.15, 0.1, None))
        return [] if threshold is None else (x >= threshold).tolist()

    assert answered(scores) == answered(MONOTONE[transform](scores))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-100, 100))
def test_shift_and_scale_leave_the_split_walk_alone(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-30, 30, 400).astype(float)
    correct = rng.random(400) < 1 / (1 + np.exp(-1.5 - scores / 8))

    def answered(x: np.ndarray) -> list[bool]:
        threshold, _ = split_walk(x[:100], correct[:100], x[100:], correct[100:], 0.15)
        return [] if threshold is None else (x >= threshold).tolist()

    assert answered(scores) == answered(scale * scores + shift)


def test_what_is_supported_is_said_where_the_target_is_not() -> None:
    laid = problem(600, 2, "weak", target_risk=0.05)
    assert RULES["split_walk"].choose(laid) == (None, None)
    threshold, certificate = best_supported(laid)
    assert threshold is not None
    assert certificate is not None
    assert certificate.target_risk == certificate.bound
    assert 0.05 < certificate.bound < 0.5
    answered = laid.certify.scores >= threshold
    assert certificate.answered == answered.sum()


def test_what_is_supported_with_too_few_labels_for_any_test() -> None:
    laid = Problem.of(np.arange(20.0), np.ones(20), np.arange(15.0), np.ones(15), 0.1, 0.1, None)
    certificate = best_supported(laid).certificate
    assert certificate is not None
    assert certificate.bound == pytest.approx(1 - 0.1 ** (1 / 15))  # no error among 15


def test_nothing_is_supported_without_labels_or_right_answers() -> None:
    assert best_supported(Problem.of((), (), (), (), 0.1, 0.1, None)) == (None, None)
    assert best_supported(Problem.of([1.0], [1], (), (), 0.1, 0.1, None)) == (None, None)
    assert best_supported(Problem.of((), (), [1.0], [1], 0.1, 0.1, None)) == (None, None)
    assert best_supported(Problem.of([1.0], [1], [1.0, 1.0], [0, 0], 0.1, 0.1, None)) == (None, None)


@pytest.mark.parametrize("population", ["medium", "on the edge"])
def test_the_walk_or_else_what_is_supported_is_false_as_rarely_as_promised(population: str) -> None:
    truth = Truth.of(POPULATIONS[population], 0.1)
    draws, false, supported = 150, 0, 0
    for seed in range(draws):
        laid = problem(300, seed, population)
        chosen = RULES["split_walk"].choose(laid)
        if chosen.certificate is None:
            chosen = best_supported(laid)
            supported += 1
        assert chosen.certificate is not None
        false += truth.at(chosen.threshold)[1] > chosen.certificate.target_risk + 1e-9
    assert supported > draws / 4
    assert not rate_above_delta(false, draws, 0.001)


def test_labels_needed_for_a_population_are_about_enough() -> None:
    needed = labels_needed(problem(4000, 0, "medium", target_risk=0.05), power=0.8)
    assert needed is not None
    passed = sum(
        RULES["split_walk"].choose(problem(needed + 400, seed, "medium", 0.05, pilot=400)).certificate
        is not None
        for seed in range(40)
    )
    # an estimate: it ignores that the pilot must find the place, and the grid its steps
    assert 0.4 <= passed / 40 <= 1


def test_labels_needed_grow_as_the_target_nears_the_risk() -> None:
    needed = [labels_needed(problem(2000, 0, "easy", target_risk=target)) for target in (0.2, 0.1, 0.07)]
    assert None not in needed
    assert needed == sorted(needed)
    # No fewer than an error-free sample needs.
    assert needed[0] >= math.log(0.1) / math.log(0.8)


def test_labels_needed_are_unknown_where_no_number_would_do() -> None:
    assert labels_needed(problem(1000, 0, "on the edge", target_risk=0.02)) is None
    assert labels_needed(Problem.of((), (), (), (), 0.1, 0.1, None)) is None
    assert labels_needed(Problem.of([-INF], [0], (), (), 0.1, 0.1, None)) is None
    with pytest.raises(GatingError, match="power is 1"):
        labels_needed(problem(100, 0), power=1)


def test_joined_labels_are_both() -> None:
    one, other = Labelled.of([0.3], [1], "one"), Labelled.of([0.1, 0.2], [0, 1], "other")
    assert one.joined(other).scores.tolist() == [0.1, 0.2, 0.3]
    assert one.joined(other).correct.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "setting",
    [("medium", 0.1, 1000), ("tied", 0.2, 300), ("non-monotone", 0.1, 1000), ("on the edge", 0.1, 300)],
)
def test_certificates_hold_on_known_populations(setting: tuple[str, float, int]) -> None:
    outcome = simulate(setting, draws=100, seed=1)
    for key, rule in RULES.items():
        if rule.valid:
            assert not rate_above_delta(outcome.violations[key], 100, 0.001), key
    assert rate_above_delta(outcome.violations["naive"], 100, 0.001) == (setting[0] != "tied")
    if outcome.oracle:
        for other in ("sgr", "five_starts"):
            mean, error = lead(outcome, other)
            assert mean > -2 * error, other


def test_the_benchmark_writes_its_table(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--draws", "2", "--out", str(tmp_path / "RISK.md")]) == 0
    assert (tmp_path / "RISK.md").read_text(encoding="utf-8") in capsys.readouterr().out
    assert DELTA == 0.1


def test_more_labels_lay_a_finer_grid() -> None:
    sizes = [problem(n, 0).thresholds.size for n in (500, 10_000, 200_000)]
    assert sizes == [100, 100, 412]  # √170,000, after the pilot's share
