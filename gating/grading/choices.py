"""Multiple choice: the letter that an answer states, else the one option whose text it contains."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gating.answers import normalise
from gating.grading.text import TEXT
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.grading.outcomes import Label

#: LaTeX around a letter, as mathematical models write it: \boxed{B}, \boxed{\text{(B)}}, $B$.
_BOXED = re.compile(r"\\boxed\{\s*(?:\\(?:text|mathrm|mathbf|textbf)\{\s*)?\(?([A-Za-z])\)?\s*\}")
_LONE_LETTER = re.compile(
    r"\W*(?:(?:the )?(?:correct |right |best )?(?:answer|option|choice)(?: is)?\W*(?:option |choice )?)?"
    r"([a-z])\W*",
    re.IGNORECASE,
)
_MARKED_LETTER = re.compile(r"\W*([A-Z])(?:[).:](?!\w)|\s+[-–]\s)(?!\W*[A-Z][).:])")
_NAMED_LETTER = re.compile(
    r"(?i:\b(?:answer|option|choice)(?: is)?:?\W{1,4}(?:(?:option|choice) )?)\W{0,3}([A-Z])"
    r"(?![\w'])(?!,? (?:or|and) [A-Z]\b)"
)


def grade_choice(answer: str, accepted: Sequence[str], choices: Sequence[str]) -> Label:
    """Grade an answer to a multiple-choice question; ``accepted`` are normalised texts or letters of ``choices``."""
    options = [normalise(choice) for choice in choices]
    letters = [chr(ord("a") + place) for place in range(len(options))]
    right = {
        letter
        for letter, option in zip(letters, options, strict=True)
        if option in accepted or letter in accepted
    }
    if not choices:
        right = {text for text in accepted if re.fullmatch("[a-z]", text)}
    if not right:
        raise GatingError(
            f"answers: {', '.join(accepted)} is neither one of the choices nor the letter of one"
        )
    letter = stated_letter(answer)
    if letter is not None:
        return "correct" if letter in right else "incorrect"
    verdicts = {
        letter: TEXT.grade(answer, [option])
        for letter, option in zip(letters, options, strict=True)
        if option
    }
    named = {letter for letter, verdict in verdicts.items() if verdict == "correct"}
    return "correct" if named and named <= right else "incorrect"


def stated_letter(answer: str) -> str | None:
    """Return the letter of the choice that an answer gives ("B", "B. weather", "The answer is B") in lower case."""
    boxed = _BOXED.findall(answer)
    if boxed:
        return boxed[-1].lower() if len({letter.lower() for letter in boxed}) == 1 else None
    letter = _LONE_LETTER.fullmatch(answer) or _MARKED_LETTER.match(answer) or _NAMED_LETTER.search(answer)
    return letter[1].lower() if letter else None
