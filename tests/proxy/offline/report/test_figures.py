"""The figures of the report, compared with scikit-learn, scipy and the code that serves."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from gating import Gate
from gating.rules import RULES
from gating.tuning import FixedThreshold, TargetRisk, tune
from proxy import records as files
from proxy.offline.report import Source, figures_of, figures_of_tuned, render
from proxy.offline.report.curves import BINS, POINTS
from proxy.offline.report.examples import EACH, SHOWN, clipped
from tests.proxy.offline.report.made import CERTIFICATE, hostile, policy, record, records

GIVEN = Source("records.jsonl")


def figures(rows, **changes):
    return figures_of(iter(rows), policy(**changes), GIVEN)


def every_number(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from every_number(one)
    elif isinstance(value, float):
        yield value


def test_the_gate_itself_gives_the_counts():
    rows = records()
    gate = Gate(policy())
    served = [row for row in rows if gate.decide(row.evidence()).served]
    wrong = sum(row.label == "incorrect" for row in served)
    found = figures(rows)
    assert (found.gated.right, found.gated.wrong) == (len(served) - wrong, wrong)
    assert found.gated.abstained == len(rows) - len(served)
    assert found.always.right + found.always.wrong == found.n == 400
    assert found.questions == 200
    exact = binomtest(wrong, len(served)).proportion_ci(0.95, "exact")
    assert found.gated_risk_interval == pytest.approx((exact.low, exact.high))


def test_quality_is_scikit_learns():
    rows = records()
    confidence = [policy().confidence(row.evidence()) for row in rows]
    correct = [row.label == "correct" for row in rows]
    quality = figures(rows).quality
    assert quality.auroc == pytest.approx(roc_auc_score(correct, confidence))
    assert quality.brier == pytest.approx(brier_score_loss(correct, confidence))
    assert quality.log_loss == pytest.approx(log_loss(correct, confidence))
    assert quality.base_rate == pytest.approx(np.mean(correct))
    low, high = quality.brier_skill_interval
    assert low < quality.brier_skill < high


def test_the_curve_ends_at_everything_and_its_band_is_exact():
    found = figures(records())
    last = found.curve[-1]
    assert len(found.curve) <= POINTS
    assert (last.coverage, last.risk) == (1.0, found.always.risk)
    errors = round(last.risk * 400)
    exact = binomtest(errors, 400).proportion_ci(0.95, "exact")
    assert last.interval == pytest.approx((exact.low, exact.high))
    assert all(point.interval[0] <= point.risk <= point.interval[1] for point in found.curve)


def test_bins_and_bars_count_every_answer():
    found = figures(records())
    assert len(found.reliability) <= BINS
    assert sum(one.count for one in found.reliability) == 400
    assert sum(found.histogram.right) == found.always.right
    assert sum(found.histogram.wrong) == found.always.wrong


def test_what_cannot_be_scored_and_what_the_model_declines_is_withheld():
    rows = [
        record(1, -0.1, "correct"),
        record(2, None, "correct"),
        record(3, -0.1, "correct", answer="I don't know."),
        record(4, -0.1, "abstained"),
    ]
    found = figures(rows)
    assert found.unmeasured == 1
    assert (found.gated.right, found.gated.wrong, found.gated.abstained) == (1, 0, 3)
    assert found.curve[-1].coverage == 0.25


def test_every_rule_is_compared_at_every_target():
    compared = figures(records(1500), certificate=CERTIFICATE, threshold=0.5).comparison
    assert [rule.name for rule in compared.rules] == list(RULES)
    assert compared.n == 750
    for rule in compared.rules:
        assert [choice.target_risk for choice in rule.choices] == [0.05, 0.1, 0.2]
        assert rule.valid == (rule.name != "naive")
        for choice in rule.choices:
            assert choice.risk is None or choice.risk <= choice.target_risk
    widest = [rule.choices[-1].coverage for rule in compared.rules]
    assert max(widest) == widest[-1] > 0.3  # the naive rule answers most, which is what is wrong with it


def test_a_certificates_own_target_is_compared_too():
    certificate = CERTIFICATE.__class__(0.3, 0.2, 10, 100, 150, 0.15)
    compared = figures(records(100), certificate=certificate).comparison
    assert compared.delta == 0.2
    assert [choice.target_risk for choice in compared.rules[0].choices] == [0.05, 0.1, 0.2, 0.3]


def test_answers_that_speak_against_the_certificate_are_told():
    bad = [record(row, -0.1, "incorrect" if row % 2 else "correct") for row in range(100)]
    assert figures(bad, certificate=CERTIFICATE).contradicted
    good = [record(row, -0.1, "correct") for row in range(100)]
    assert not figures(good, certificate=CERTIFICATE).contradicted


def test_records_of_another_fingerprint_are_counted():
    rows = [record(1, -0.1, "correct", made_with={"model": "a"}), record(2, -0.1, "correct")]
    assert figures(rows, fingerprint={"model": "a"}).unlike == 1
    assert figures(rows).unlike == 0


def test_examples_are_the_nearest_and_the_worst():
    rows = records()
    found = figures(rows)
    confidence = {row.id: policy().confidence(row.evidence()) for row in rows}
    above = sorted(value for value in confidence.values() if value >= 0.5)[:EACH]
    below = sorted((value for value in confidence.values() if value < 0.5), reverse=True)[:EACH]
    assert [one.confidence for one in found.examples["answered_narrowly"]] == above
    assert [one.confidence for one in found.examples["withheld_narrowly"]] == below
    assert all(not one.right and one.confidence >= 0.5 for one in found.examples["answered_wrong"])
    assert all(one.right and one.confidence < 0.5 for one in found.examples["withheld_right"])


def test_a_long_text_is_cut_and_says_so():
    assert clipped("x" * 100_000) == "x" * SHOWN + "… (100,000 characters in all)"
    assert clipped("short") == "short"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [record(1, None, "abstained")],
        [record(1, None, "correct")],
        [record(1, -0.1, "correct")],
        [record(1, -9.0, "incorrect")],
        [record(row, -0.1, "correct") for row in range(30)],
        [record(row, -0.1, "incorrect") for row in range(30)],
        [record(row, -9999.0, ("correct", "incorrect")[row % 2]) for row in range(30)],
        hostile(),
    ],
    ids=["empty", "declined", "unmeasured", "one", "withheld", "right", "wrong", "tied", "hostile"],
)
@pytest.mark.parametrize("threshold", [0.5, None, 0.0, 1.0])
def test_whatever_the_records_there_is_a_page_without_nan(rows, threshold):
    found = figures(rows, threshold=threshold)
    assert not [value for value in every_number(found.to_dict()) if not math.isfinite(value)]
    json.dumps(found.to_dict(), allow_nan=False)
    html = render(found)
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)
    assert ">None<" not in html
    if not rows:
        assert "not known" in html.lower()


@pytest.mark.parametrize("goal", [TargetRisk(0.2), FixedThreshold(0.7)])
def test_what_is_tuned_is_drawn_on_answers_that_were_not_fitted_on(tmp_path, goal):
    path = tmp_path / "records.jsonl"
    files.write_lines(path, (json.dumps(row).encode() for row in _as_json(records(1200))))
    graded, _ = files.graded(path)
    tuned = tune(graded, goal)
    found = figures_of_tuned(path, tuned)
    held, said = "test", "that neither the fit nor the choice of the threshold used"
    if "certify" in tuned.splits:
        held, said = "certify", "that the fit did not use. The threshold was chosen on them"
    assert found.source == Source("records.jsonl", held)
    assert found.n == tuned.figures.n[held]
    assert found.gated == tuned.figures.held_out
    assert found.always == tuned.figures.always
    assert found.quality.auroc == tuned.figures.policy.auroc
    assert found.scorers == tuned.figures.scorers
    html = render(found)
    assert said in html
    assert "mean_logprob" in html
    if "certify" in tuned.splits:
        # The fit labels choose where the walk starts; the rules count certification labels alone.
        assert found.comparison.n == tuned.figures.n["certify"]


def _as_json(rows):
    for row in rows:
        yield {name: getattr(row, name) for name in ("id", "group", "answer", "token_logprobs", "label")}
