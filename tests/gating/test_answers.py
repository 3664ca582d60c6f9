"""Normalising answers and recognising the model's own "I don't know"."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.answers import MAX_ABSTENTION_CHARS, is_abstention, normalise
from gating.refusals import LANGUAGES

DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))

ABSTENTIONS = [
    "I don't know.",
    "I don’t know",
    "i dont know",
    '"I don\'t know."',
    "**I don't know.**",
    "I do not know the answer to that question.",
    "I don't know who wrote this book.",
    "I don't know, sorry.",
    "Sorry, I don't know.",
    "I'm sorry, but I don't know the answer.",
    "I'm not sure.",
    "I am not sure what you mean. Could you please clarify?",
    "I am not familiar with that person.",
    "I'm unable to provide that information.",
    "I'm afraid I can't answer that.",
    "I cannot answer this question.",
    "I cannot determine the answer from the given context.",
    "Unfortunately, I can't determine who that was.",
    "I have no idea.",
    "I don't have enough information to answer that.",
    "I don't have access to real-time data. Please check a weather website.",
    "As an AI language model, I do not have personal opinions.",
    "As an AI language model, I do not have real-time weather data. However, you can check it on a website.",
    "As an AI, I don't have access to real-time information, but I can help you with other questions.",
    "I'm sorry, but I can't assist with that request.",
    "There is no information about his birthplace in the passage.",
    "There isn't enough information in the context to answer the question.",
    "The context does not mention the capital of France, the population, or the currency.",
    "The provided context doesn't contain any information about Marie Curie. It only discusses physics.",
    "The passage does not explicitly state when he was born.",
    "Based on the provided context, there is no mention of the inventor.",
    "Based on the context provided, I cannot determine the year.",
    "The given text contains no information about the author.",
    "His date of birth is not mentioned in the passage.",
    "The answer is not provided in the context.",
    "It is not clear from the passage who won.",
    "It is unknown.",
    "It is impossible to determine.",
    "The question cannot be answered.",
    "Unknown",
    "N/A",
    "Unanswerable.",
    "Not mentioned in the passage.",
    "Not enough information",
    "The answer is unknown.",
    "Ich weiß es nicht.",
    "Es tut mir leid, ich kann diese Frage nicht beantworten.",
    "Der Kontext enthält keine Angaben zum Geburtsort.",
    "Je ne sais pas.",
    "Désolé, je ne peux pas répondre à cette question.",
    "Le texte ne mentionne pas la date.",
    "No lo sé.",
    "No sé.",
    "Lo siento, no tengo información sobre eso.",
    "El texto no menciona la fecha.",
    "Non lo so.",
    "Mi dispiace, non posso rispondere.",
    "Não sei.",
    "Desculpe, não tenho informações sobre isso.",
    "O texto não menciona a data.",
]

ANSWERS = [
    "",
    "   ",
    "Paris",
    "Paris is not in Germany.",
    "No.",
    "No, it does not.",
    "None",
    "Nothing",
    "Noah",
    "I'm not sure, but I think it is Paris.",
    "I'm not sure, but Paris.",
    "I'm not sure. Paris?",
    "I'm not sure, Paris",
    "I'm not sure, maybe Paris.",
    "I don't know for sure, but it might be Paris.",
    "I don't know, it is probably Paris.",
    "I don't know. The answer is Paris.",
    "I don't know the exact date, it was in 1969.",
    "I'm sorry, the capital is Paris.",
    "I'm sorry.",
    "As of my last update, the president was Joe Biden, but I do not have access to real-time data.",
    "I do not have access to real-time data, but as of 2023 the president was Joe Biden.",
    "The context does not mention it, but Paris is the capital of France.",
    "The context does not mention the capital. However, the capital of France is Paris.",
    "The passage does not say; Paris.",
    "There is no capital of Antarctica.",
    "There is no largest prime number.",
    "Dr. Benjamin Spock did not win an Olympic gold medal. He was a pediatrician and author, not an athlete.",
    "From what I understand, adult bunnies were called rabbits. I don't think there was another name.",
    "Socrates said that he knew that he did not know.",
    "The unknown soldier lies under the Arc de Triomphe.",
    "He cannot swim.",
    "No Country for Old Men",
    "Not Paris but Lyon",
    "Please ask a librarian.",
    "Ich bin nicht sicher, aber ich glaube, es ist Berlin.",
    "Je ne sais pas, mais je pense que c'est Paris.",
    "No estoy seguro, pero creo que es Madrid.",
    "No hay de qué, es Madrid. La capital es Madrid.",
    "Non lo so, forse Roma.",
    "Não sei, mas acho que é Lisboa.",
    "No. 5",
]


@pytest.mark.parametrize("text", ABSTENTIONS)
def test_a_refusal_is_an_abstention(text: str) -> None:
    assert is_abstention(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_none(text: str) -> None:
    assert not is_abstention(text)


@pytest.mark.parametrize("text", ABSTENTIONS)
def test_a_refusal_followed_by_an_answer_is_an_answer(text: str) -> None:
    assert not is_abstention(f"{text.strip('.')}. The capital of France is Paris.")


def test_long_texts_are_answers() -> None:
    assert not is_abstention("I don't know. " * (MAX_ABSTENTION_CHARS // 14 + 1))


def test_six_languages_are_known() -> None:
    assert tuple(LANGUAGES) == ("en", "de", "fr", "es", "it", "pt")


@given(st.text(max_size=200))
def test_any_text_has_a_verdict_and_one_normal_form(text: str) -> None:
    assert is_abstention(text) in (True, False)
    assert normalise(normalise(text)) == normalise(text)
    assert normalise(f"  {text}\n") == normalise(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("an  apple\tand a pear", "apple and pear"),
        ("1,000", "1000"),
        ("1,234,567.5 km", "1234567.5 km"),
        ("twenty-one", "21"),
        ("Seven", "7"),
        ("ninety", "90"),
        ("one hundred", "100"),
        ("\uff30aris", "paris"),
        ("São Tomé", "sao tome"),
        ("Straße", "strasse"),
        ("U.S.", "us"),
        ("J. K. Rowling", "jk rowling"),
        ("J.K. Rowling", "jk rowling"),
        ("Washington, D.C.", "washington dc"),
        ("Newton's law", "newtons law"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("1914-1918", "1914 1918"),
        ("vitamin A", "vitamin a"),
        ("A", "a"),
        ("snake_case", "snake case"),
        ("3.14", "3.14"),
        ("**Paris**.", "paris"),
    ],
)
def test_equal_answers_share_a_spelling(text: str, normal: str) -> None:
    assert normalise(text) == normal


def _generations() -> list[tuple[str, str]]:
    folder = DATA / "generations"
    if not folder.is_dir():
        pytest.skip(f"the measuring data are not at {folder}")
    with (folder / "persona_rq3_responses.csv").open(encoding="utf-8-sig", newline="") as file:
        texts = [(row["content"], row["judge_verdict"]) for row in csv.DictReader(file)]
    for name in ("qwen2.5-coder-0.5b", "smollm2-135m"):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            texts += [(text, record["label"]) for text in [record["answer"], *record["samples"]]]
    return texts


def test_real_answers_are_not_taken_for_refusals() -> None:
    """Precision on generations that a judge or a grader read as answers: no right one is refused."""
    texts = _generations()
    taken = [(text, label) for text, label in texts if is_abstention(text)]
    print(f"{len(taken)} of {len(texts)} generations taken for refusals: {taken}")
    assert not [text for text, label in taken if label == "correct"]
    assert len(taken) <= 0.002 * len(texts)
