"""The project's own question set: complete, consistent, and right where that can be recomputed."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from gating.answers import is_abstention, normalise
from gating.grading import grade
from proxy.demo.questions import SYSTEM_PROMPT, questions, sample
from proxy.demo.questions.build import _table


def test_there_are_many_questions_of_many_kinds() -> None:
    kinds = Counter(question.kind for question in questions())
    assert sum(kinds.values()) >= 1000
    assert len(kinds) >= 15
    assert max(kinds.values()) < 0.2 * sum(kinds.values())
    assert SYSTEM_PROMPT.startswith("Answer")


def test_ids_and_texts_are_unique() -> None:
    assert len({question.id for question in questions()}) == len(questions())
    texts = Counter(question.question.casefold() for question in questions())
    assert [text for text, count in texts.items() if count > 1] == []


def test_every_answer_is_accepted_as_itself_and_no_other_kind_of_text_is() -> None:
    for question in questions():
        for answer in question.answers:
            assert normalise(answer), question
            assert grade(answer, question.answers) == "correct", question
            assert not is_abstention(answer), question
        assert grade("Zanzibar, obviously", question.answers) == "incorrect", question
        assert grade("I don't know.", question.answers) == "abstained", question


def test_an_answer_in_a_sentence_is_accepted() -> None:
    for question in questions():
        assert grade(f"The answer is {question.answers[0]}.", question.answers) == "correct", question


def test_a_line_of_questions_jsonl_has_the_contract_s_keys() -> None:
    first = questions()[0]
    assert json.loads(json.dumps(first.to_dict())) == {
        "id": "capital-001",
        "question": "What is the capital of Afghanistan?",
        "answers": ["Kabul"],
        "group": "capital of Afghanistan",
    }


def test_phrasings_of_one_fact_share_a_group() -> None:
    gold = [question for question in questions() if question.group == "symbol Au"]
    assert {question.kind for question in gold} == {"symbol", "element"}


@pytest.mark.parametrize("kind", ["sum", "difference", "product"])
def test_arithmetic_is_right(kind: str) -> None:
    operations = {"sum": int.__add__, "difference": int.__sub__, "product": int.__mul__}
    asked = [question for question in questions() if question.kind == kind]
    assert len(asked) == 72
    for question in asked:
        first, second = map(int, re.findall(r"\d+", question.question))
        assert question.answers == (str(operations[kind](first, second)),)


def test_powers_are_right() -> None:
    for question in questions():
        if question.kind == "power":
            base = int(re.findall(r"\d+", question.question)[0])
            exponent = 2 if "squared" in question.question else 3
            assert int(question.answers[0]) == base**exponent


def test_roman_numerals_are_right() -> None:
    letters = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
    asked = [question for question in questions() if question.kind == "roman"]
    assert len(asked) == 40
    for question in asked:
        values = [letters[letter] for letter in question.question.split()[5]]
        total = sum(-v if v < later else v for v, later in zip(values, [*values[1:], 0], strict=True))
        assert question.answers == (str(total),)


def test_the_periodic_table_is_whole() -> None:
    elements = _table("elements")
    assert [int(row["number"]) for row in elements] == list(range(1, 119))
    assert len({row["symbol"] for row in elements}) == len({row["element"] for row in elements}) == 118
    assert all(re.fullmatch("[A-Z][a-z]?", row["symbol"]) for row in elements)
    known = {row["symbol"]: row["number"] for row in elements}
    assert (known["Fe"], known["Ag"], known["Au"], known["Pb"], known["U"]) == ("26", "47", "79", "82", "92")


def test_countries_and_states_are_each_named_once() -> None:
    countries, states = _table("countries"), _table("states")
    assert len({row["country"] for row in countries}) == len(countries) > 170
    assert len({row["capital"] for row in countries}) == len(countries)
    assert len({row["state"] for row in states}) == len({row["capital"] for row in states}) == 50
    continents = {row["continent"].split("|")[0] for row in countries} - {""}
    assert continents == {"Africa", "Asia", "Europe", "North America", "South America", "Oceania"}


def test_years_are_years() -> None:
    years = [int(question.answers[0]) for question in questions() if question.kind == "year"]
    assert len(years) >= 60
    assert all(500 < year < 2025 for year in years)


def test_a_sample_is_stratified_seeded_and_without_repeats() -> None:
    drawn = sample(400, seed=3)
    assert drawn == sample(400, seed=3)
    assert drawn != sample(400, seed=4)
    assert len(set(drawn)) == 400
    shares, whole = Counter(q.kind for q in drawn), Counter(q.kind for q in questions())
    for kind, count in whole.items():
        assert abs(shares[kind] - 400 * count / len(questions())) <= 2
    assert sample(len(questions()), seed=0) != questions()
    assert set(sample(len(questions()), seed=0)) == set(questions())
    assert sample(0, seed=0) == ()


@pytest.mark.parametrize("n", [-1, 1_000_000])
def test_an_impossible_sample_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="ask for 0 to"):
        sample(n, seed=0)


def test_every_passage_tells_the_answer_of_its_question() -> None:
    told = [question for question in questions() if question.passage is not None]
    assert len(told) > 1000
    for question in told:
        assert any(answer.casefold() in question.passage.casefold() for answer in question.answers), question


def test_a_sample_leaves_out_the_facts_that_it_is_told() -> None:
    first = sample(300, seed=0, with_passage=True)
    facts = {question.group for question in first}
    again = sample(300, seed=0, with_passage=True, without=facts)
    assert len(again) == 300
    assert not facts & {question.group for question in again}
