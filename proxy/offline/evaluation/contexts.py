"""Each question under several conditions: its passages, another question's, both, falsified, or none.

The irrelevant condition is made by exchanging passages between questions, the counterfactual one by putting
another question's answer where the accepted one stood. A made passage never holds an accepted answer.
"""

from __future__ import annotations

import random
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

import msgspec

from gating.answers import normalise
from proxy.exceptions import ConfigError
from proxy.records import Condition, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: What questions with passages are asked under unless it is said.
DEFAULT: tuple[Condition, ...] = ("relevant", "irrelevant", "none")
#: Between a question's id and the condition, for every one but the question as it was given.
MARK = "#"
#: Questions that are looked at for passages to exchange.
_MOST_TRIED = 200


def conditions(text: str) -> tuple[Condition, ...]:
    """The conditions that ``--contexts`` names; raises ConfigError."""
    known = [name for name in get_args(Condition) if name in ("none", "relevant") or name in _MAKE]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"--contexts: {name} is no condition; known are {', '.join(known)}")
    if not names:
        raise ConfigError(f"--contexts: names none; write some of {','.join(known)}")
    return tuple(one for one in known if one in names)


def posed(questions: Sequence[Question], wanted: Sequence[Condition], seed: int = 0) -> Iterator[Question]:
    """Every question under each of the conditions that can be made of it; the same for the same seed.

    One without passages is asked as it is, and one whose condition is given only so and without passages.
    """
    for place, question in enumerate(questions):
        if not question.context:
            yield msgspec.structs.replace(question, condition="none", context=None)
            continue
        given = question.condition or "relevant"
        for condition in wanted:
            passages: list[str] | None
            if condition == "none":
                passages = None
            elif condition == given:
                passages = question.context
            elif given == "relevant" and condition in _MAKE:
                draw = random.Random(f"{seed} {question.id} {condition}")  # noqa: S311 - no secret
                passages = _MAKE[condition](questions, place, draw)
                if passages is None:
                    continue
            else:
                continue
            yield msgspec.structs.replace(
                question,
                id=question.id if condition == given else f"{question.id}{MARK}{condition}",
                group=question.group or question.id,
                context=passages,
                condition=condition,
            )


def _exchanged(questions: Sequence[Question], place: int, draw: random.Random) -> list[str] | None:
    """As many passages of another question, none of which holds an accepted answer; None where there are none."""
    question = questions[place]
    wanted = len(question.context or ())
    forbidden = [text for text in map(normalise, question.answers) if text]
    found: list[str] = []
    for _ in range(min(len(questions) * 4, _MOST_TRIED)):
        other = questions[draw.randrange(len(questions))]
        if (other.group or other.id) == (question.group or question.id):
            continue
        for passage in other.context or ():
            if passage in found or passage in (question.context or ()) or _holds(passage, forbidden):
                continue
            found.append(passage)
            if len(found) == wanted:
                return found
    return found or None


def _mixed(questions: Sequence[Question], place: int, draw: random.Random) -> list[str] | None:
    """Its own and as many of others, in random order."""
    others = _exchanged(questions, place, draw)
    if others is None:
        return None
    both = [*(questions[place].context or ()), *others]
    draw.shuffle(both)
    return both


def _falsified(questions: Sequence[Question], place: int, draw: random.Random) -> list[str] | None:
    """Its own with another question's answer in place of each accepted one; None where none stands in them."""
    question = questions[place]
    accepted = sorted(question.answers, key=len, reverse=True)
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(answer)}(?!\w)" for answer in accepted if answer.strip()), re.IGNORECASE
    )
    forbidden = {normalise(answer) for answer in accepted}
    alike = [
        other.answers[0]
        for other in questions
        if not forbidden & {normalise(answer) for answer in other.answers} and _alike(other, question)
    ]
    if not alike or not any(pattern.search(passage) for passage in question.context or ()):
        return None
    false = draw.choice(alike)
    return [pattern.sub(lambda _: false, passage) for passage in question.context or ()]


def _alike(one: Question, other: Question) -> bool:
    """Whether the two ask for the same kind of thing, as far as their first words tell."""
    return _opening(one) == _opening(other)


def _opening(question: Question) -> list[str]:
    text = question.question or (question.messages or [])[-1].content
    return text.lower().split()[:4]


def _holds(passage: str, forbidden: Sequence[str]) -> bool:
    text = f" {normalise(passage)} "
    return any(f" {answer} " in text for answer in forbidden)


_MAKE: Mapping[str, Callable[[Sequence[Question], int, random.Random], list[str] | None]] = MappingProxyType(
    {
        "irrelevant": _exchanged,
        "mixed": _mixed,
        "counterfactual": _falsified,
    }
)
