"""The arithmetic of the demonstration's table, and how its questions are halved."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from gating.tuning import Collector, Tuned, WrongCost, tune
from gating.types import Evidence
from proxy.cli.demo import examples, halves
from proxy.demo import Counts, GradedAnswer, count
from proxy.demo.counts import gain, separation
from proxy.demo.questions import questions
from proxy.demo.tables import figures, fitted, show_examples, show_table

QUESTION = questions()[0]


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    """From sixty answers of which the surer ones are more often right."""
    graded = Collector()
    for row in range(60):
        evidence = Evidence(f"answer {row}", [-0.05 * row], None, ())
        graded.add(evidence, "correct" if row % 3 or row < 15 else "incorrect", str(row))
    return tune(graded.graded(), WrongCost(3.0), calibrator="platt")


def asked(label: str, confidence: float | None, answer: str = "x", decision: str = "answer") -> GradedAnswer:
    return GradedAnswer(QUESTION, answer, label, confidence, decision)  # type: ignore[arg-type]


ANSWERS = [
    asked("correct", 0.95),
    asked("correct", 0.75),
    asked("correct", 0.3),
    asked("incorrect", 0.8),
    asked("incorrect", 0.2),
    asked("incorrect", None),
    asked("abstained", 0.99),
]


def test_always_answering_counts_every_label() -> None:
    assert count(ANSWERS) == Counts(right=3, wrong=3, abstained=1)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, Counts(3, 2, 2)), (0.75, Counts(2, 1, 4)), (0.9, Counts(1, 0, 6)), (1.0, Counts(0, 0, 7))],
)
def test_the_gate_answers_from_its_threshold_on(threshold: float, expected: Counts) -> None:
    """A confidence equal to the threshold passes; a missing one never does; a refusal is no answer."""
    assert count(ANSWERS, threshold) == expected


def test_a_wrong_answer_costs_the_odds_of_the_target() -> None:
    counts = Counts(right=6, wrong=2, abstained=2)
    assert counts.score(0.5) == pytest.approx((6 - 2) / 10)
    assert counts.score(0.75) == pytest.approx((6 - 2 * 3) / 10)
    assert counts.score(0.9) == pytest.approx((6 - 2 * 9) / 10)
    assert counts.error == pytest.approx(0.25)
    assert Counts(0, 0, 3).error is None


@pytest.mark.parametrize("target", [0.5, 0.75, 0.9])
def test_the_gain_is_what_gating_adds_to_the_score(target: float) -> None:
    many = [
        GradedAnswer(question, "x", one.label, one.confidence, one.decision)
        for question, one in zip(questions()[:280], ANSWERS * 40, strict=True)
    ]
    value, (low, high) = gain(many, target)
    assert value == pytest.approx(count(many, target).score(target) - count(many).score(target))
    assert low < value < high
    worth = {"correct": -1.0, "incorrect": target / (1 - target), "abstained": 0.0}
    spread = np.std([0.0 if one.served(target) else worth[one.label] for one in many])
    assert len({one.question.group for one in many}) == len(many)
    assert (high - low) / 2 == pytest.approx(1.96 * spread / np.sqrt(len(many)), rel=0.15)
    assert gain(many, target) == (value, (low, high))


def test_separation_needs_both_kinds() -> None:
    assert separation([asked("correct", 0.9), asked("abstained", 0.1), asked("incorrect", None)]) is None
    found = separation(ANSWERS)
    assert found is not None
    value, (low, high) = found
    assert value == pytest.approx(
        4 / 6
    )  # of the six pairs of a right and a wrong answer two are out of order
    assert 0 <= low <= value <= high <= 1


def test_the_halves_share_no_fact_and_lose_no_question() -> None:
    first, second = halves(300, seed=3)
    assert len(first) + len(second) == 300
    assert not {q.group for q in first} & {q.group for q in second}
    assert halves(300, seed=3) == (first, second)
    assert halves(300, seed=4) != (first, second)


def test_examples_are_of_both_kinds_in_order() -> None:
    shown = examples(ANSWERS)
    assert shown == ANSWERS
    many = [asked("correct", 0.9)] * 9 + [asked("incorrect", 0.1, answer="y")] * 9
    assert {one.answer for one in examples(many)} == {"x", "y"}


def test_what_is_shown_fits_eighty_columns_and_takes_no_markup_from_answers() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    alone = asked("incorrect", 0.2, answer="[bold]not markup[/] " + "long " * 40)
    pairs = [(alone, asked("abstained", 0.2, decision="abstain")), (ANSWERS[0], asked("correct", None))]
    show_examples(console, pairs)
    show_table(console, ANSWERS)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]" in text
    assert "I don't know." in text
    assert "gated at 0.75" in text


def test_the_json_figures_are_those_of_the_table(tuned: Tuned) -> None:
    told = figures(tuned, ANSWERS, [(ANSWERS[0], ANSWERS[0])])
    assert told["policy"] == {
        "scorers": ["mean_logprob"],
        "calibrator": "platt",
        "fitted_on": 42,
        "threshold": 0.75,
    }
    assert fitted(tuned) == "Policy: mean_logprob, calibrated by platt on 42 answers."
    assert told["n"] == 7
    assert told["always"]["score"]["0.75"] == pytest.approx(count(ANSWERS).score(0.75))
    assert told["gated"]["0.75"] == {
        "right": 2,
        "wrong": 1,
        "abstained": 4,
        "error": pytest.approx(1 / 3),
        "score": pytest.approx(count(ANSWERS, 0.75).score(0.75)),
        "gain": pytest.approx(gain(ANSWERS, 0.75)[0]),
        "gain_interval": list(gain(ANSWERS, 0.75)[1]),
    }
    assert told["examples"][0]["decision"] == "answer"
    assert figures(tuned, [asked("correct", 0.5)], [])["auroc"] is None
