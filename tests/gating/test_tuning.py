"""Tuning from graded answers to a policy, through the public functions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from calibrators import CALIBRATORS
from gating import SCORERS, Evidence, Gate, GatingError, Policy, Unmeasured
from gating.combine import Logistic
from gating.risk import upper_bound
from gating.tuning import (
    Collector,
    FixedThreshold,
    Provenance,
    TargetRisk,
    WrongCost,
    score_answers,
    tune,
)
from gating.tuning.graded import OUTCOMES
from gating.tuning.splits import one_of_each, place_of, split

LABELS = ("incorrect", "correct")
#: Changing the public key would give every user a second look at the same labels.
PLACE_OF_Q1 = 0.355576523250569


def evidence(score, **features):
    """Return an answer whose mean, minimum, sum and first logprob are all ``score``."""
    return Evidence("Paris", token_logprobs=[score], features=features)


def drawn(n, seed=0, *, slope=3.0, centre=0.7):
    """Logprobs (n,) and labels (n,) that follow them: P(right) is logistic in the logprob."""
    rng = np.random.default_rng(seed)
    scores = -rng.exponential(size=n)
    right = rng.random(n) < 1 / (1 + np.exp(-slope * (scores + centre)))
    return scores.tolist(), right.astype(int).tolist()


def collected(scores, labels, *, groups=None, **features):
    made = Collector()
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        more = {name: values[row] for name, values in features.items()}
        made.add(evidence(score, **more), LABELS[label], str(row if groups is None else groups[row]))
    return made.graded()


def test_splits_are_disjoint_and_whole_and_leave_no_question_on_two_sides():
    group = np.random.default_rng(0).integers(0, 60, 500)
    parts = split(group, {"a": 0.5, "b": 0.2, "c": 0.3}, np.random.default_rng(1))
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(500))
    seen = [set(group[rows].tolist()) for rows in parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert [len(rows) / 500 for rows in parts.values()] == pytest.approx([0.5, 0.2, 0.3], abs=0.05)


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(0, 2**32))
def test_any_grouping_is_split_whole(groups, seed):
    numbers = np.unique(np.array(groups, dtype=np.intp), return_inverse=True)[1]
    parts = split(numbers, {"a": 0.7, "b": 0.3}, np.random.default_rng(seed))
    assert sorted([*parts["a"], *parts["b"]]) == list(range(len(groups)))
    assert not set(numbers[parts["a"]]) & set(numbers[parts["b"]])
    kept = one_of_each(numbers, parts["a"], np.random.default_rng(seed))
    assert sorted(numbers[kept]) == sorted(set(numbers[parts["a"]]))


def test_one_answer_of_each_question_certifies():
    scores, labels = drawn(2_000)
    groups = [row // 4 for row in range(2_000)]
    graded = collected(scores, labels, groups=groups)
    tuned = tune(graded, TargetRisk(0.2))
    certify = graded.group[tuned.splits["certify"]]
    assert len(set(certify.tolist())) == certify.size == tuned.figures.n["certify"]
    fitted = set(graded.group[tuned.splits["fit"]].tolist())
    assert not fitted & set(certify.tolist())
    assert len(fitted) + certify.size == 500
    assert 330 < certify.size < 470  # a binomial number of 500 questions at 80 %
    assert (tuned.figures.n["pilot"], tuned.figures.n["test"]) == (0, 0)


def test_a_question_keeps_its_split_when_others_are_added_and_whatever_the_seed():
    scores, labels = drawn(1_200)
    groups = [f"question {row // 2}" for row in range(1_200)]
    some = tune(collected(scores[:800], labels[:800], groups=groups[:800]), TargetRisk(0.3), seed=1)
    more = tune(collected(scores, labels, groups=groups), TargetRisk(0.3), seed=2)
    for name in ("fit", "certify"):
        assert set(some.splits[name].tolist()) == {row for row in more.splits[name].tolist() if row < 800}


def test_the_dealt_split_is_fair_and_its_key_is_fixed():
    places = np.array([place_of(f"q{number}") for number in range(5_000)])
    assert abs((places < 0.2).mean() - 0.2) < 0.02
    assert place_of("q1") == pytest.approx(PLACE_OF_Q1, abs=1e-12)


def test_the_fit_labels_choose_the_start_and_nothing_of_the_certificate():
    """Labels of the certification split change no score, order, calibrator or start."""
    scores, labels = drawn(1_000)
    graded = collected(scores, labels)
    one = tune(graded, TargetRisk(0.3))
    rows = one.splits["certify"]
    changed = np.array(labels)
    changed[rows] = 1 - changed[rows]
    other = tune(collected(scores, changed.tolist()), TargetRisk(0.3))
    assert other.policy.calibrator.to_dict() == one.policy.calibrator.to_dict()
    assert other.answers["pilot"].confidence.tolist() == one.answers["pilot"].confidence.tolist()
    assert other.answers["pilot"].outcome.tolist() == one.answers["pilot"].outcome.tolist()


def test_the_same_labels_and_seed_give_the_same_policy_and_another_seed_another():
    graded = collected(*drawn(600))
    first, again, other = (tune(graded, WrongCost(3), seed=seed) for seed in (0, 0, 1))
    assert first.policy.to_dict() == again.policy.to_dict()
    assert first.policy.to_dict() != other.policy.to_dict()


def test_the_gate_serves_what_was_counted():
    scores, labels = drawn(2_000, slope=6.0)
    graded = collected(scores, labels)
    tuned = tune(
        graded,
        TargetRisk(0.15, 0.1),
        provenance=Provenance("support", {"model": "m", "fields": {}}, "2026-01-02"),
    )
    gate = Gate(Policy.load(json.loads(json.dumps(tuned.policy.to_dict(), allow_nan=False))))

    def served(rows):
        return [row for row in rows.tolist() if gate.decide(evidence(scores[row])).served]

    certificate = tuned.policy.certificate
    out = served(tuned.splits["certify"])
    assert certificate.answered == len(out) > 0
    assert certificate.errors == sum(1 - labels[row] for row in out)
    assert certificate.total == tuned.splits["certify"].size
    assert certificate.bound == pytest.approx(upper_bound(certificate.errors, len(out), 0.1))
    assert certificate.bound <= 0.15
    assert certificate.created == "2026-01-02"
    assert certificate.splits == tuned.figures.n == tuned.policy.fitted_on

    assert tuned.to_dict()["held_out_from"] == "certify"
    held = tuned.figures.held_out
    wrong = sum(1 - labels[row] for row in out)
    assert (held.right, held.wrong) == (len(out) - wrong, wrong)
    assert held.abstained == tuned.splits["certify"].size - len(out)
    assert held.coverage == len(out) / tuned.splits["certify"].size
    assert held.risk == wrong / len(out)
    assert held.score["0.9"] == pytest.approx((held.right - 9 * wrong) / tuned.splits["certify"].size)
    assert gate.certified()
    assert tuned.policy.name == "support"


def test_figures_are_those_of_the_test_split():
    scores, labels = drawn(1_000)
    tuned = tune(collected(scores, labels), WrongCost(1), calibrator="platt")
    test = tuned.splits["test"]
    right, raw = np.array(labels)[test], np.array(scores)[test]
    figures = tuned.figures.scorers["mean_logprob"]
    confidence = [tuned.policy.confidence(evidence(score)) for score in raw]
    assert figures.n == test.size
    assert figures.auroc == pytest.approx(roc_auc_score(right, raw))
    assert figures.log_loss == pytest.approx(log_loss(right, confidence))
    assert tuned.figures.base_rate == pytest.approx(right.mean())
    assert figures.brier_skill == pytest.approx(
        1 - ((np.array(confidence) - right) ** 2).mean() / (right.mean() * (1 - right.mean()))
    )
    assert tuned.figures.policy.log_loss == figures.log_loss
    assert tuned.figures.always.coverage == 1.0


def test_the_contracts_keys_stand_in_json_and_nothing_is_nan():
    figures = tune(collected(*drawn(400)), WrongCost(3)).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) == json.loads(json.dumps(figures))
    assert set(figures["n"]) == {"fit", "pilot", "certify", "test"}
    assert {"base_rate", "scorers", "calibrator", "threshold", "certificate", "held_out"} <= set(figures)
    assert {"n", "auroc", "brier_skill", "log_loss"} <= set(figures["scorers"]["mean_logprob"])
    assert set(figures["held_out"]) == {"coverage", "risk", "right", "wrong", "abstained", "score"}
    assert set(figures["held_out"]["score"]) == {"0.5", "0.75", "0.9"}
    assert figures["threshold"] == 0.75
    assert figures["n"]["pilot"] == figures["n"]["certify"] == 0


@pytest.mark.parametrize("calibrator", ["auto", *CALIBRATORS])
def test_every_calibrator_can_be_asked_for(calibrator):
    tuned = tune(collected(*drawn(400)), FixedThreshold(0.8), calibrator=calibrator)
    assert tuned.figures.calibrator == tuned.policy.to_dict()["calibrator"]["kind"]
    assert calibrator in ("auto", tuned.figures.calibrator)
    assert tuned.policy.threshold == 0.8


def beside(other, scores, labels):
    """Answers of two tokens: one whose logprob tells, and one of the ``other`` logprobs (n,), which is likelier."""
    made = Collector()
    for row, (noise, score, label) in enumerate(zip(other, scores, labels, strict=True)):
        made.add(Evidence("Paris", token_logprobs=[noise, score - 20]), LABELS[label], str(row))
    return made.graded()


def test_the_best_scorer_is_taken():
    scores, labels = drawn(600)
    noise = -np.random.default_rng(1).exponential(size=600)
    tuned = tune(beside(noise, scores, labels), WrongCost(1))
    assert [scorer.name for scorer in tuned.policy.scorers] == ["min_logprob"]


@pytest.mark.parametrize("scorers", [None, ["auto"]], ids=["single", "auto"])
@pytest.mark.parametrize("other", [1.0, 1.7, 3.0])
def test_of_scorers_that_say_the_same_the_first_is_taken_however_they_are_rounded(other, scorers):
    scores, labels = drawn(600)
    tuned = tune(beside(other * np.array(scores), scores, labels), WrongCost(1), scorers=scorers)
    assert [scorer.name for scorer in tuned.policy.scorers] == ["mean_logprob"]
    tuned = tune(collected(scores, labels), WrongCost(1), scorers=scorers)
    assert [scorer.name for scorer in tuned.policy.scorers] == ["mean_logprob"]


def test_a_scorer_gains_nothing_by_silence():
    scores, labels = drawn(600)
    made = Collector()
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        tops = [[-0.01, -9.0] if label else [-1.0, -1.1]] if row < 30 else None  # perfect, and rare
        made.add(Evidence("Paris", token_logprobs=[score], top_logprobs=tops), LABELS[label], str(row))
    tuned = tune(made.graded(), WrongCost(1))
    assert [scorer.name for scorer in tuned.policy.scorers] == ["mean_logprob"]
    assert tuned.figures.scorers["topk_entropy"].n < 30


def test_very_many_labels_are_compared_on_a_part(monkeypatch):
    monkeypatch.setattr("gating.tuning.choice.MOST_COMPARED", 100)
    tuned = tune(collected(*drawn(600)), WrongCost(1))
    assert [scorer.name for scorer in tuned.policy.scorers] == ["mean_logprob"]


def test_several_scorers_are_combined_on_a_part_of_the_fit_split():
    scores, labels = drawn(1_500)
    rng = np.random.default_rng(3)
    hint = (np.array(labels) + rng.normal(size=1_500) > 0.5).astype(float)
    hint = [float(value) if rng.random() < 0.9 else math.nan for value in hint]
    graded = collected(scores, labels, hint=hint)
    tuned = tune(graded, WrongCost(1), scorers=["mean_logprob", "hint"])
    assert isinstance(tuned.policy.combination, Logistic)
    assert tuned.policy.to_dict()["features"] == {"hint": "probability"}
    alone = tuned.figures.scorers
    assert tuned.figures.policy.log_loss < min(alone["mean_logprob"].log_loss, alone["hint"].log_loss)
    served = [tuned.policy.confidence(evidence(scores[row], hint=hint[row])) for row in tuned.splits["test"]]
    assert served == tuned.answers["test"].confidence.tolist()


def test_features_alone_make_a_policy():
    made = Collector()
    scores, labels = drawn(200)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        made.add(Evidence("Paris", features={"judge": score}), LABELS[label], str(row))
    tuned = tune(made.graded(), WrongCost(1))
    assert tuned.policy.to_dict()["features"] == {"judge": "logprob"}


def test_a_third_outcome_and_the_unmeasured_are_withheld_and_counted():
    scores, labels = drawn(400)
    made = Collector()
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        made.add(evidence(score), LABELS[label], str(row))
    for row in range(400, 600):
        made.add(Evidence("Paris", token_logprobs=[-0.001]), "abstained", str(row))
    for row in range(600, 800):
        made.add(Evidence("I don't know.", token_logprobs=[-0.001]), "incorrect", str(row))
    for row in range(800, 900):
        made.add(Evidence("Paris"), "incorrect", str(row))
    graded = made.graded()
    tuned = tune(graded, FixedThreshold(0.0))
    rows = tuned.splits["test"]
    held = tuned.figures.held_out
    assert held.right + held.wrong == int((rows < 400).sum())
    assert held.abstained == int((rows >= 400).sum())
    assert tuned.figures.scorers["mean_logprob"].n == int((rows < 400).sum())
    always = tuned.figures.always
    assert always.abstained == int(((rows >= 400) & (rows < 800)).sum())
    certified = tune(graded, TargetRisk(0.5)).policy.certificate
    assert certified.total == tune(graded, TargetRisk(0.5)).splits["certify"].size
    assert certified.answered <= 400


def test_a_certificate_says_what_it_holds_for():
    provenance = Provenance(fingerprint={"model": "m", "fields": {}}, created="2026-01-02T03:04:05Z")
    policy = tune(collected(*drawn(2_000)), TargetRisk(0.2), provenance=provenance).policy
    certificate = policy.to_dict()["certificate"]
    assert certificate["fingerprint"] == {"model": "m", "fields": {}}
    assert certificate["created"] == "2026-01-02T03:04:05Z"
    assert certificate["splits"].keys() == {"fit", "pilot", "certify", "test"}
    assert certificate["splits"]["fit"] + certificate["splits"]["certify"] == 2_000
    assert certificate["splits"]["pilot"] == certificate["splits"]["test"] == 0
    assert Policy.load(json.loads(json.dumps(policy.to_dict()))).to_dict() == policy.to_dict()


def test_where_nothing_passes_the_data_say_what_they_do_support():
    graded = collected(*drawn(400, slope=1.0, centre=1.5))
    tuned = tune(graded, TargetRisk(0.02))
    assert tuned.policy.threshold is tuned.policy.certificate is tuned.figures.held_out is None
    assert tuned.choice.supported.bound > 0.02
    figures = tuned.to_dict()
    assert figures["supported"]["bound"] == tuned.choice.supported.bound
    assert figures["held_out"]["risk"] is figures["held_out"]["score"]["0.9"] is None
    with pytest.raises(GatingError, match="set a threshold for the route"):
        Gate(tuned.policy)


def test_an_estimate_is_no_certificate():
    graded = collected(*drawn(400, slope=2.0, centre=1.0))
    tuned = tune(graded, TargetRisk(0.1), allow_estimate=True)
    assert tuned.policy.certificate is None
    assert 0 <= tuned.policy.threshold <= 1
    assert tuned.choice.labels_needed > 400
    hopeless = collected(drawn(400)[0], [row % 50 == 0 for row in range(400)])
    assert tune(hopeless, TargetRisk(0.001), allow_estimate=True).policy.threshold is None


def test_what_can_never_be_certified_says_so():
    scores = drawn(300)[0]
    labels = [int(row % 2) for row in range(300)]
    tuned = tune(collected([-1.0] * 300, labels), TargetRisk(0.01))
    assert tuned.choice.labels_needed is None
    assert tune(collected(scores, labels), TargetRisk(0.01)).policy.threshold is None


def test_without_usable_labels_to_certify_on_nothing_is_supported():
    made = Collector()
    for row, (score, label) in enumerate(zip(*drawn(100), strict=True)):
        made.add(evidence(score), LABELS[label], str(row))
    graded = made.graded()
    tuned = tune(graded, TargetRisk(0.05))
    # The same splits with evidence in the fit split alone.
    made = Collector()
    fit = set(tuned.splits["fit"].tolist())
    for row, (score, label) in enumerate(zip(*drawn(100), strict=True)):
        made.add(evidence(score) if row in fit else Evidence("Paris"), LABELS[label], str(row))
    blind = tune(made.graded(), TargetRisk(0.05))
    assert blind.choice.supported is blind.choice.labels_needed is None
    assert blind.figures.scorers["mean_logprob"].auroc is None
    assert blind.figures.base_rate is not None


def test_a_scorer_that_the_fit_split_lacks_has_no_figures():
    scores, labels = drawn(100)
    fit = set(tune(collected(scores, labels), WrongCost(1)).splits["fit"].tolist())
    hint = [math.nan if row in fit else 1.0 for row in range(100)]
    figures = tune(collected(scores, labels, hint=hint), WrongCost(1)).figures.scorers["hint"]
    assert (figures.n, figures.auroc, figures.log_loss) == (30, None, None)


def test_a_test_split_of_silence_has_no_base_rate():
    scores, labels = drawn(100)
    held = set(tune(collected(scores, labels), WrongCost(1)).splits["test"].tolist())
    made = Collector()
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        made.add(evidence(score), "abstained" if row in held else LABELS[label], str(row))
    figures = tune(made.graded(), WrongCost(1)).figures
    assert figures.base_rate is figures.held_out.risk is figures.policy.auroc is None
    assert figures.held_out.coverage == 0


def test_tied_scores_give_a_policy_that_answers_all_or_nothing():
    tuned = tune(collected([-0.5] * 200, [int(row % 4 > 0) for row in range(200)]), TargetRisk(0.5))
    assert tuned.policy.threshold is not None
    assert tuned.figures.held_out.coverage == 1.0


def test_infinite_logprobs_are_clipped_and_infinite_features_are_unmeasured():
    scores, labels = drawn(200)
    scores = [-math.inf if row % 7 == 0 else score for row, score in enumerate(scores)]
    hint = [math.inf if row % 5 else float(row) for row in range(200)]
    graded = collected(scores, labels, hint=hint)
    assert np.isfinite(graded.column("mean_logprob").scores).all()
    assert graded.column("hint").measured.sum() == 40
    assert json.dumps(tune(graded, WrongCost(1)).policy.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (19, {}, "19 answers are labelled correct or incorrect; at least 20 are needed"),
        (
            200,
            {"scorers": ["mean_logprop"]},
            "mean_logprop is neither a scorer nor a feature .*mean_logprob, .*hint",
        ),
        (
            200,
            {"scorers": ["topk_entropy"]},
            r"no record has the evidence that topk_entropy needs \(logprobs and top_logprobs\)",
        ),
        (200, {"calibrator": "oracle"}, "calibrator: 'oracle' is unknown; use auto or one of temperature"),
    ],
)
def test_what_cannot_be_tuned_is_named(rows, options, message):
    graded = collected(*drawn(rows), hint=[0.5] * rows)
    with pytest.raises(GatingError, match=message):
        tune(graded, WrongCost(1), **options)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_teaches_nothing(label):
    with pytest.raises(GatingError, match=f"all 100 labels are {LABELS[label]}"):
        tune(collected(drawn(100)[0], [label] * 100), WrongCost(1))


@pytest.mark.parametrize("label", [0, 1])
def test_a_fit_split_of_one_class_teaches_nothing(label):
    labels = [label] * 100
    held = tune(collected(*drawn(100)), WrongCost(1)).splits["test"]
    for row in held[:5]:
        labels[row] = 1 - label
    with pytest.raises(
        GatingError, match=f"none of the 70 measured answers to fit on is {'wrong' if label else 'right'}"
    ):
        tune(collected(drawn(100)[0], labels), WrongCost(1))


def test_one_question_cannot_be_split():
    with pytest.raises(GatingError, match="100 records of 1 questions leave no answers for the split"):
        tune(collected(*drawn(100), groups=[0] * 100), WrongCost(1))


def test_records_without_evidence_teach_nothing():
    made = Collector()
    for row in range(100):
        made.add(Evidence("Paris"), LABELS[row % 2], str(row))
    with pytest.raises(GatingError, match="no record has evidence to score"):
        tune(made.graded(), WrongCost(1))


def test_a_feature_must_not_be_called_like_a_scorer():
    with pytest.raises(
        GatingError, match=r"features\.mean_logprob: a feature must not have the name of a scorer"
    ):
        Collector().add(evidence(-1.0, mean_logprob=1.0), "correct", "1")


@pytest.mark.parametrize(
    "goal",
    [
        lambda: TargetRisk(0.0),
        lambda: TargetRisk(0.1, 1.0),
        lambda: TargetRisk(math.nan),
        lambda: WrongCost(-1.0),
        lambda: WrongCost(math.inf),
        lambda: FixedThreshold(1.5),
        lambda: FixedThreshold(math.nan),
    ],
)
def test_a_goal_out_of_range_is_refused(goal):
    with pytest.raises(GatingError):
        goal()


def test_judging_reads_what_the_policy_reads():
    scores, labels = drawn(200)
    graded = collected(scores, labels)
    policy = tune(graded, WrongCost(1)).policy
    rows = np.array([3, 1, 4])
    judged = score_answers(policy, graded, rows)
    assert judged.confidence.tolist() == [policy.confidence(evidence(scores[row])) for row in rows]
    assert len(judged) == 3
    assert isinstance(SCORERS["topk_entropy"].score(evidence(scores[0])), Unmeasured)


def test_a_certificate_is_false_no_more_often_than_promised():
    """On the edge: the risk is just above the target whatever the score, so that every certificate is false."""
    draws, delta = 100, 0.2
    made = 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        scores, labels = -rng.exponential(size=120), rng.random(120) > 0.301
        tuned = tune(
            collected(scores.tolist(), labels.astype(int).tolist()),
            TargetRisk(0.3, delta),
            seed=seed,
            scorers=["mean_logprob"],
            calibrator="platt",
        )
        made += tuned.policy.certificate is not None
    assert 0 < made <= draws * delta + 2 * math.sqrt(draws * delta * (1 - delta))


def test_samples_that_would_cost_calls_are_not_chosen_unasked():
    """Agreement separates right from wrong perfectly here, but scorers with further calls must be named."""
    made = Collector()
    scores, labels = drawn(200)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        sample = "Paris" if label else "Lyon"
        made.add(Evidence("Paris", token_logprobs=[score], samples=(sample, sample)), LABELS[label], str(row))
    graded = made.graded()
    assert tune(graded, WrongCost(3)).policy.needs <= {"logprobs", "top_logprobs"}
    named = tune(graded, WrongCost(3), scorers=["agreement_exact"])
    assert [scorer.name for scorer in named.policy.scorers] == ["agreement_exact"]


def test_samples_serve_where_there_are_no_logprobs():
    made = Collector()
    _, labels = drawn(200)
    for row, label in enumerate(labels):
        made.add(Evidence("Paris", samples=("Paris" if label else "Lyon",)), LABELS[label], str(row))
    assert tune(made.graded(), WrongCost(3)).policy.needs == {"samples"}


def test_undecided_answers_count_as_wrong_in_certification_and_are_not_fitted_on():
    """Certifying on undecided labels is at least as strict as on the same answers labelled wrong."""
    rng = np.random.default_rng(5)
    scores = rng.normal(size=600)
    right = rng.random(600) < 1 / (1 + np.exp(-2.5 - 2 * scores))
    names = np.where(right, "correct", np.where(rng.random(600) < 0.5, "undecided", "incorrect"))
    made = Collector()
    for row, (score, name) in enumerate(zip(scores.tolist(), names.tolist(), strict=True)):
        made.add(Evidence("Paris", features={"own": score}), name, str(row))
    graded = made.graded()
    tuned = tune(graded, TargetRisk(0.2), scorers=["own"], seed=1)
    certify = tuned.answers["certify"]
    served = certify.answered(tuned.policy.threshold)
    certificate = tuned.policy.certificate
    assert certificate is not None
    assert certificate.total == len(certify)
    assert certificate.errors == int((certify.outcome[served] != 1).sum())
    assert int((certify.outcome[served] == OUTCOMES["undecided"]).sum()) > 0
    assert graded.labelled.sum() == 600 - (names == "undecided").sum()
    assert tuned.figures.held_out.wrong == int((certify.outcome[served] != 1).sum())
