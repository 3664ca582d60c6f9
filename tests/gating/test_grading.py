"""Grading by rule: text, numbers, choices, and the model's own abstentions."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.grading import grade
from gating.types import GatingError

DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))
OPTIONS = ("current", "voltage", "resistance", "the electric field")


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("Paris", ["Paris"]),
        ("paris.", ["Paris"]),
        ("**Paris**", ["Paris"]),
        ("The capital is Paris.", ["Paris"]),
        ("Paris is the capital of France.", ["Paris"]),
        ("Paris, France", ["Paris"]),
        ("In 1889, the tower was built in Paris.", ["Paris"]),
        ("It is not Lyon but Paris.", ["Paris"]),
        ("It isn't Lyon, it's Paris.", ["Paris"]),
        ("Sucre and La Paz", ["Sucre", "La Paz"]),
        ("Paris and it lies on the Seine.", ["Paris"]),
        ("Trinidad and Tobago", ["Trinidad and Tobago"]),
        ("It is the Lord of the Rings.", ["Lord of Rings"]),
        ("J.K. Rowling wrote it.", ["J. K. Rowling"]),
        ("It was the U.S.", ["US"]),
        ("The U.S.A. did.", ["USA"]),
        ("Ornette Coleman, Louis Armstrong, and Charles Mingus are associated with jazz music.", ["Jazz"]),
        ("The symbol is He.", ["He"]),
        ("Sure. The capital is Paris.", ["Paris"]),
        ("Unknown", ["unknown"]),
        ("seven", ["7 dwarfs", "7"]),
    ],
)
def test_a_text_that_names_the_answer_is_correct(answer: str, accepted: list[str]) -> None:
    assert grade(answer, accepted) == "correct"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Lyon",
        "not Paris",
        "It is not Paris.",
        "It isn't Paris.",
        "It is certainly not in Paris.",
        "Lyon rather than Paris",
        "Paris is not the capital.",
        "Paris is wrong.",
        "Paris or Lyon",
        "Lyon or Paris",
        "Paris and Lyon",
        "Lyon and Paris",
        "Paris/Lyon",
        "Paris, Lyon, Rome",
        "Lyon, Rome, Paris",
        "The candidates are Paris, Lyon, and Rome.",
        "Parisian",
        "word " * 40 + "Paris",
        "It is Lyon. Surely. Or so they say. Paris is near.",
    ],
)
def test_a_text_that_denies_offers_several_or_wanders_is_incorrect(answer: str) -> None:
    assert grade(answer, ["Paris"]) == "incorrect"


def test_one_or_two_letters_count_at_the_end_only() -> None:
    assert grade("I think it is Au", ["I"]) == "incorrect"
    assert grade("The symbol of iodine is I.", ["I"]) == "correct"


@pytest.mark.parametrize(
    "answer", ["I don't know.", "I'm not sure, sorry.", "There is no information about 1969."]
)
@pytest.mark.parametrize(
    ("accepted", "choices"), [(["Paris"], None), (["1969"], None), (["voltage"], OPTIONS)]
)
def test_a_refusal_is_abstained(answer: str, accepted: list[str], choices: tuple[str, ...] | None) -> None:
    assert grade(answer, accepted, choices=choices) == "abstained"


def test_a_hedged_answer_is_graded() -> None:
    assert grade("I'm not sure, but I think it is Paris.", ["Paris"]) == "correct"
    assert grade("I'm not sure, but I think it is Lyon.", ["Paris"]) == "incorrect"


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("19", "19"),
        ("nineteen", "19"),
        ("12 + 7 = 19", "19"),
        ("12 + 7 = 19, since 10 + 9 = 19", "19"),
        ("The answer is 19, because 12 and 7 add up.", "19"),
        ("The answer is about 19 for 2 of them", "19"),
        ("A: 19", "19"),
        ("#### 19", "19"),
        (r"\boxed{19}", "19"),
        ("1,969", "1969"),
        ("about 1,969", "1969"),
        ("In 1969, Apollo 11 landed.", "1969"),
        ("July 20, 1969", "1969"),
        ("There were 45 states at the start of the 20th century.", "45"),
        ("$1,000.00", "1000"),
        ("50%", "50 %"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("3.14", "3.14159"),
        ("1.4 billion", "1400000000"),
        ("two hundred", "200"),
        ("1.5e3", "1500"),
        ("8", "8.0"),
        ("It's 0.5 m", ".5"),
    ],
)
def test_a_number_that_is_met_is_correct(answer: str, accepted: str) -> None:
    assert grade(answer, [accepted]) == "correct"


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("", "19"),
        ("many", "19"),
        ("20", "19"),
        ("1970", "1969"),
        ("19.1", "19"),
        ("5", "-5"),
        ("not 19", "19"),
        ("18 or 19", "19"),
        ("18-19", "19"),
        ("between 18 and 19", "19"),
        ("not in 1968 but in 1969", "1968"),
        ("It was 1968 or 1969.", "1969"),
        ("3.2", "3.14159"),
        ("12 + 19 = 31", "19"),
        ("H2", "2"),
    ],
)
def test_a_number_that_is_missed_is_incorrect(answer: str, accepted: str) -> None:
    assert grade(answer, [accepted], kind="number") == "incorrect"


@given(st.integers(-(10**6), 10**6))
def test_a_whole_number_meets_itself_and_not_its_neighbour(number: int) -> None:
    assert grade(f"It is {number:,}.", [str(number)]) == "correct"
    assert grade(f"It is {number + 1:,}.", [str(number)]) == "incorrect"


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "B) voltage",
        "B. voltage",
        "B: voltage",
        "B - voltage",
        "Option B",
        "The answer is B",
        "The correct answer is (B).",
        "I would say that the answer is B, since it is in volts",
        "voltage",
        "It is the voltage.",
    ],
)
@pytest.mark.parametrize("accepted", ["B", "voltage"])
def test_the_right_choice_is_correct(answer: str, accepted: str) -> None:
    assert grade(answer, [accepted], choices=OPTIONS) == "correct"


@pytest.mark.parametrize(
    "answer",
    [
        "A",
        "C. resistance",
        "A. current B. voltage",
        "The answer is not B",
        "A or B",
        "current or voltage",
        "E",
        "",
        "A volt",
    ],
)
def test_any_other_choice_is_incorrect(answer: str) -> None:
    assert grade(answer, ["B"], choices=OPTIONS) == "incorrect"


def test_a_letter_alone_can_be_a_choice_without_texts() -> None:
    assert grade("(C)", ["C"], kind="choice") == "correct"
    assert grade("D", ["C"], kind="choice") == "incorrect"


@pytest.mark.parametrize(
    ("accepted", "options", "message"),
    [
        ([], {}, "at least one accepted answer"),
        (["?!"], {}, "at least one accepted answer"),
        (["x"], {"kind": "essay"}, "kind: 'essay' is unknown; use one of text, number, choice"),
        (["7", "x"], {"kind": "number"}, "'x' is no number"),
        (["power"], {"choices": OPTIONS}, "power is neither one of the choices"),
        (["voltage"], {"kind": "choice"}, "voltage is neither one of the choices"),
    ],
)
def test_what_cannot_be_graded_is_refused(
    accepted: list[str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(GatingError, match=re.escape(message)):
        grade("x y", accepted, **options)  # type: ignore[arg-type]  # wrong kinds are the point


def _folder() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"the measuring data are not at {DATA}")
    return DATA


def test_agreement_with_labels_of_worked_sums() -> None:
    """GSM8K's example solutions: the rule must reproduce ``is_correct`` of the data set's authors."""
    lines = (
        (_folder() / "generations/gsm8k_example_model_solutions.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    agree = total = 0
    for row in map(json.loads, lines):
        accepted = row["ground_truth"].rpartition("A: ")[2]
        for solution in (value for value in row.values() if isinstance(value, dict)):
            total += 1
            agree += (grade(solution["solution"], [accepted], kind="number") == "correct") == solution[
                "is_correct"
            ]
    print(f"GSM8K: {agree} of {total} agree")
    assert agree >= 0.999 * total


def test_agreement_with_a_judge_on_trivia() -> None:
    """One accepted answer without aliases: right answers may be missed, but none that is wrong is taken."""
    with (_folder() / "generations/persona_rq3_responses.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [(grade(row["content"], [row["gold_answer"]]), row["judge_verdict"]) for row in rows]
    taken = [judged for graded, judged in pairs if graded == "correct"]
    print(f"trivia: {len(taken)} of {len(pairs)} graded right, {taken.count('incorrect')} of them wrongly")
    assert taken.count("incorrect") <= 0.005 * len(taken)
    assert taken.count("correct") >= 0.8 * sum(judged == "correct" for _, judged in pairs)
