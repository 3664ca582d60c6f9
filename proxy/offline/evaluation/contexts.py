"""Conditions of questions: a question's own passages, another question's, both, falsified ones, or none.

The irrelevant condition takes passages of other questions; the counterfactual one replaces the accepted answer in
the passages by another question's answer. Constructed passages never contain an accepted answer.
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

#: The conditions of questions with passages, without ``--contexts``.
DEFAULT: tuple[Condition, ...] = ("relevant", "irrelevant", "none")
#: Separates a question's id from its condition, for conditions other than the given one.
MARK = "#"
#: The most questions that are tried in the search for passages to exchange.
_MOST_TRIED = 200


def conditions(text: str) -> tuple[Condition, ...]:
    """Parse the conditions of ``--contexts``; raises ConfigError."""
    known = [name for name in get_args(Condition) if name in ("none", "relevant") or name in _MAKE]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"--contexts: {name} is not a condition; use {', '.join(known)}")
    if not names:
        raise ConfigError(f"--contexts: no condition is given; use some of {','.join(known)}")
    return tuple(one for one in known if one in names)


def under_conditions(
    questions: Sequence[Question], wanted: Sequence[Condition], seed: int = 0
) -> Iterator[Question]:
    """Yield every question under each wanted condition that can be constructed; the result depends on ``seed`` alone.

    A question without passages is yielded once. A question whose condition is given is yielded under this condition
    and without passages.
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
    """Return as many passages of other questions, none with an accepted answer; None where there are none."""
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
    """Return the question's passages and as many of others, in random order."""
    others = _exchanged(questions, place, draw)
    if others is None:
        return None
    both = [*(questions[place].context or ()), *others]
    draw.shuffle(both)
    return both


def _falsified(questions: Sequence[Question], place: int, draw: random.Random) -> list[str] | None:
    """Replace accepted answers in the question's passages by another question's; None where they contain none."""
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
    """Return whether both questions open with the same words, so that their answers are of the same kind."""
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
