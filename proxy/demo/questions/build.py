"""Questions from the tables of facts, and a stratified sample of them."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from proxy.demo.questions.computed import computed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

SYSTEM_PROMPT = "Answer with the shortest possible answer: a name, a number or a few words, no explanation."

# (table, column with the answer, kind, key of the fact, question). A row without an answer is skipped, since the fact
# is disputed or changes. Two phrasings of one fact have the same key.
_TEMPLATES = (
    ("countries", "capital", "capital", "capital of {country}", "What is the capital of {country}?"),
    (
        "countries",
        "continent",
        "continent",
        "continent of {country}",
        "On which continent does {country} lie?",
    ),
    ("countries", "currency", "currency", "currency of {country}", "What is the currency of {country}?"),
    (
        "states",
        "capital",
        "state",
        "capital of the state {state}",
        "What is the capital of the US state {state}?",
    ),
    ("elements", "symbol", "symbol", "symbol {symbol}", "What is the chemical symbol of {element}?"),
    ("elements", "element", "element", "symbol {symbol}", "Which chemical element has the symbol {symbol}?"),
    ("elements", "number", "atomic number", "number {number}", "What is the atomic number of {element}?"),
    ("facts", "answers", None, "{question}", "{question}"),
)

# The sentences of a passage about a row; a sentence whose fact is missing is skipped.
_PASSAGES = {
    "countries": (
        "{country} is a country that lies in {continent}.",
        "The seat of its government is in {capital}, the capital.",
        "Prices in {country} are in its currency, the {currency}.",
    ),
    "states": (
        "{state} is one of the states of the United States of America.",
        "Its legislature meets in {capital}, the capital of the state.",
    ),
    "elements": (
        "{element} is a chemical element.",
        "In the periodic table it has the symbol {symbol}.",
        "The nucleus of {element} holds {number} protons: that is its atomic number.",
    ),
    "facts": ("{passage}",),
}

_SHARE = {
    "element": 3,
    "atomic number": 2,
}  # only every third or second row is used, so that elements do not dominate the set


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its accepted answers; ``group`` names its fact, ``kind`` its stratum.

    ``passage`` describes the subject of the question and contains the answer; None where no table has one.
    """

    id: str
    group: str
    kind: str
    question: str
    answers: tuple[str, ...]
    passage: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the question as a line of ``questions.jsonl``."""
        return {"id": self.id, "question": self.question, "answers": list(self.answers), "group": self.group}


@cache
def questions() -> tuple[Question, ...]:
    """Return all questions in a fixed order; ids are numbered within a kind."""
    made: list[Question] = []
    counts: dict[str, int] = {}
    for kind, group, text, answers, passage in [*_from_tables(), *_from_sums()]:
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind.replace(' ', '-')}-{counts[kind]:03d}"
        made.append(Question(name, group, kind, text, answers, passage))
    return tuple(made)


def sample(
    n: int, seed: int, *, with_passage: bool = False, without: Collection[str] = ()
) -> tuple[Question, ...]:
    """Draw ``n`` questions in random order, each kind in its proportion; the same for the same seed.

    ``with_passage`` draws only questions that have a passage; ``without`` lists groups to leave out. Raises ValueError
    where ``n`` is negative or larger than the number of questions.
    """
    everything = tuple(
        one
        for one in questions()
        if (one.passage is not None or not with_passage) and one.group not in without
    )
    if not 0 <= n <= len(everything):
        raise ValueError(f"n is {n}; ask for 0 to {len(everything)} questions")
    draw = random.Random(seed)  # noqa: S311 - a sample, no secrets
    strata: dict[str, list[Question]] = {}
    for question in draw.sample(everything, len(everything)):
        strata.setdefault(question.kind, []).append(question)
    # Each question gets its position within its kind as a fraction; the n smallest hold each kind in its proportion.
    places = [
        ((place + draw.random()) / len(kind), question)
        for kind in strata.values()
        for place, question in enumerate(kind)
    ]
    chosen = [question for _, question in sorted(places, key=lambda placed: placed[0])[:n]]
    return tuple(draw.sample(chosen, n))


def split_by_fact(
    drawn: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Split questions into two parts that share no fact; ``share`` is the part of the facts in the first one."""
    facts = sorted({question.group for question in drawn})
    random.Random(seed).shuffle(facts)  # noqa: S311 - a split, no secrets
    first = frozenset(facts[: int(len(facts) * share)])
    return [q for q in drawn if q.group in first], [q for q in drawn if q.group not in first]


def _from_tables() -> Iterator[tuple[str, str, str, tuple[str, ...], str | None]]:
    tables = {name: _table(name) for name in dict.fromkeys(template[0] for template in _TEMPLATES)}
    for table, column, kind, key, text in _TEMPLATES:
        for row in tables[table][:: _SHARE.get(kind or "", 1)]:
            if row[column]:
                shown = {name: _shown(name, value) for name, value in row.items()}
                answers = tuple(row[column].split("|"))
                passage = _passage(table, row, shown)
                yield kind or row["kind"], key.format_map(shown), text.format_map(shown), answers, passage


def _passage(table: str, row: dict[str, str], shown: dict[str, str]) -> str | None:
    sentences = [
        sentence.format_map(shown)
        for sentence in _PASSAGES.get(table, ())
        if all(value or f"{{{name}}}" not in sentence for name, value in row.items())
    ]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences) or None


def _from_sums() -> Iterator[tuple[str, str, str, tuple[str, ...], str | None]]:
    for kind, text, answer in computed():
        yield kind, text, text, (answer,), None


def _table(name: str) -> list[dict[str, str]]:
    text = files("proxy.demo.questions").joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _shown(name: str, value: str) -> str:
    """Return how a question names a thing: by its first name, and an element in lower case."""
    first = value.partition("|")[0]
    return first.lower() if name == "element" else first
