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
from gating.grading.text import TextGrader
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
        "Paris/Lyon",
        "Parisian",
    ],
)
def test_a_text_that_denies_or_offers_alternatives_is_incorrect(answer: str) -> None:
    assert grade(answer, ["Paris"]) == "incorrect"


@pytest.mark.parametrize(
    "answer",
    [
        "Paris and Lyon",
        "Lyon and Paris",
        "Paris, Lyon, Rome",
        "Lyon, Rome, Paris",
        "The candidates are Paris, Lyon, and Rome.",
        "It might be Paris.",
        "word " * 70 + "Paris",
        "It is Lyon. Surely. Or so they say. Paris is near.",
        "It was never said by anybody at that meeting that the capital was not Paris in those days.",
    ],
)
def test_a_text_that_may_be_right_is_undecided(answer: str) -> None:
    assert grade(answer, ["Paris"]) == "undecided"


@pytest.mark.parametrize(
    ("answer", "accepted", "outcome"),
    [
        ("Physiographic provinces", "ecological provinces", "undecided"),
        (
            "Carter Bays and Craig Thomas, who met in college, wrote the series together.",
            "Craig Thomas",
            "correct",
        ),
        ("The rule was made by Craig Carter, not by Thomas.", "Thomas Craig", "undecided"),
        ("It is the cells' inner membrane.", "the inner membrane of cells", "correct"),
    ],
)
def test_the_words_of_an_accepted_answer_decide_where_it_does_not_occur(
    answer: str, accepted: str, outcome: str
) -> None:
    assert grade(answer, [accepted]) == outcome


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("The winner of the first series was Edd Kimber1. It aired on 17 August 20102.", "Edd Kimber"),
        ("It first aired in the summer of 20102.", "summer of 2010"),
        ("It was recorded by American singerMariah Careyfor her album.", "Mariah Carey"),
        ("It was on the 22nd of July 1947.", "July 22, 1947"),
        ("It was adopted on July 22nd, 1947.", "22 July 1947"),
        ("The sale of alcohol begins at 7:00 a.m. on all days.", "7 a.m."),
        ("It is similar to gold.", "gold (Au)"),
        ("One of her boyfriends was Steven Hale.", 'Steven "Steve" Hale'),
        ("The chief guest was Shinzo Abe, of Japan.", "Prime Minister Shinzo Abe"),
        ("She was played by Carolyn Jones.", "Carolyn Sue Jones"),
        ("It is made of barrel vault.", "barrel vaults"),
        ("The record was −89.2°C (−128.6°F) at Vostok.", "−128.6\xa0°F"),
        ("Watson and Crick, both of Cambridge, proposed the first accurate model of it in 1953.", "Crick"),
    ],
)
def test_other_spellings_of_the_answer_are_correct(answer: str, accepted: str) -> None:
    assert grade(answer, [accepted]) == "correct"


def test_a_denial_that_repeats_the_question_does_not_count() -> None:
    answer, question = (
        "Lyon is not the capital of France.",
        "Which of these cities is not the capital of France?",
    )
    assert grade(answer, ["Lyon"]) == "incorrect"
    assert grade(answer, ["Lyon"], question=question) == "correct"


@pytest.mark.parametrize(
    ("answer", "accepted", "outcome"),
    [
        ("No, they cannot.", "no", "correct"),
        ("Yes, they can.", "no", "incorrect"),
        ("Yes. It is so.", "yes", "correct"),
        ("False: it was later.", "false", "correct"),
        ("They cannot.", "no", "undecided"),
        ("The symbol is No.", "No", "correct"),
        ("Zanzibar", "no", "incorrect"),
    ],
)
def test_yes_and_no_are_the_first_word(answer: str, accepted: str, outcome: str) -> None:
    assert grade(answer, [accepted]) == outcome


@pytest.mark.parametrize(
    ("answer", "accepted", "outcome"),
    [
        ("法国的首都是巴黎。", "巴黎", "correct"),
        ("不是巴黎。", "巴黎", "incorrect"),
        ("答案是Paris。", "Paris", "correct"),
        ("答案是42。", "42", "correct"),
        ("東京都", "京", "incorrect"),
        ("フランスの首都はパリです。", "パリ", "correct"),
        ("パリではありません。", "パリ", "incorrect"),
        ("正解は大阪です。", "東京", "incorrect"),
        ("คำตอบคือปารีส", "ปารีส", "correct"),
        ("ไม่ใช่ปารีส", "ปารีส", "incorrect"),
        ("수도는 파리입니다.", "파리", "correct"),
        ("수도는 파리가 아닙니다.", "파리", "incorrect"),
        ("파린", "파리", "incorrect"),
    ],
)
def test_scripts_without_spaces(answer: str, accepted: str, outcome: str) -> None:
    assert grade(answer, [accepted]) == outcome


@pytest.mark.parametrize(
    ("answer", "accepted", "outcome"),
    [
        ("36 m^2", "36", "correct"),
        ("36 cm^{2}", "36", "correct"),
        ("36 m²", "36", "correct"),
        ("25 m^2", "2", "incorrect"),
        ("–3", "-3", "correct"),
        ("x = —3", "-3", "correct"),
        ("1914–1918", "-1918", "incorrect"),
        ("The legal age is 18. With a court order, 16 or 17 may be allowed.", "18", "correct"),
        (
            "The legal age is 21, and 18 with consent of the parents or 16 with a court order.",
            "18",
            "undecided",
        ),
    ],
)
def test_signs_units_and_second_numbers(answer: str, accepted: str, outcome: str) -> None:
    assert grade(answer, [accepted]) == outcome


@pytest.mark.parametrize("answer", [r"\boxed{B}", r"It follows: $\boxed{\text{B}}$", r"\boxed{(B)}"])
def test_a_boxed_letter_is_a_choice(answer: str) -> None:
    assert grade(answer, ["voltage"], choices=OPTIONS) == "correct"
    assert grade(answer, ["current"], choices=OPTIONS) == "incorrect"


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


def test_words_in_any_order_can_be_left_out():
    """The benchmark measures the step by leaving it out; half of the words are then undecided."""
    answer, accepted = "It was Bell, Alexander Graham.", ["Alexander Graham Bell"]
    assert TextGrader().grade(answer, accepted) == "correct"
    assert TextGrader(any_order=False).grade(answer, accepted) == "undecided"
