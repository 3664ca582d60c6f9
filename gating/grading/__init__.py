"""Grading of answers against accepted ones by rule, so that a label can be reproduced.

There are three kinds of answers:

``text``    an accepted answer occurs as whole words in a statement that neither denies it nor offers alternatives
            (``gating.grading.text``).
``number``  the number that the answer concludes with (after "=", "the answer is", or the last one). A whole accepted
            number must be equal, since a year or a sum that is one off is wrong; another must lie within
            ``RELATIVE_TOLERANCE`` (``gating.grading.numbers``).
``choice``  the letter that the answer states, else the one option whose text it contains (``gating.grading.choices``).

Answers that the rules cannot decide are ``undecided``. They are left to a judge or a person, and certification counts
them as wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gating.answers import fold, is_abstention, normalise
from gating.grading.choices import grade_choice, stated_letter
from gating.grading.numbers import CONCLUSION, grade_number, lone_number, stated_number
from gating.grading.outcomes import Decided, Kind, Label, decided
from gating.grading.text import SENTENCE, TEXT, TextGrader
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CONCLUSION",
    "SENTENCE",
    "Decided",
    "Kind",
    "Label",
    "TextGrader",
    "decided",
    "grade",
    "lone_number",
    "stated_letter",
    "stated_number",
]

_KINDS = ("text", "number", "choice")
#: Accepted answers that only say yes or no; the first word of the answer is compared.
_POLARITY = {"yes": True, "true": True, "no": False, "false": False}
_AUXILIARY = re.compile(
    r"\b(?:can|could|will|would|should|do|does|did|has|have|is|are|was|were)(?:not|nt)?\b"
)
_FIRST_WORD = re.compile(r"\W*(?:answer:?\s*)?(\w+)")


def grade(
    answer: str,
    accepted: Sequence[str],
    *,
    choices: Sequence[str] | None = None,
    kind: Kind | None = None,
    question: str | None = None,
    text_grader: TextGrader = TEXT,
) -> Label:
    """Return ``correct``, ``incorrect``, ``abstained`` or ``undecided``.

    ``answer`` is the model's text, ``accepted`` every right answer with its aliases; for a choice these are texts of
    ``choices`` or their letters (A for the first). ``kind`` is inferred where it is not given: ``choice`` with
    ``choices``, ``number`` where every accepted answer is one, else ``text``. An accepted answer that reads like a
    refusal ("Unknown") is right where the answer is equal to it. ``question`` is optional; with it, a denial that
    repeats the question's does not count against the answer.

    Raises GatingError for no accepted answers, an unknown kind, and accepted answers that do not fit the kind.
    """
    wanted = tuple(dict.fromkeys(filter(None, map(normalise, accepted))))
    if not wanted:
        raise GatingError("answers: at least one accepted answer with a letter or digit in it is needed")
    if kind is None:
        kind = _kind_of(wanted, choices)
    if kind not in _KINDS:
        raise GatingError(f"kind: {kind!r} is unknown; use one of {', '.join(_KINDS)}")
    if normalise(answer) in wanted:
        return "correct"
    if is_abstention(answer):
        return "abstained"
    if kind == "choice":
        return grade_choice(answer, wanted, choices or ())
    if kind == "number":
        return grade_number(answer, fold(answer), wanted)
    graded = text_grader.grade(answer, accepted, question)
    if graded != "correct" and all(text in _POLARITY for text in wanted):
        return _grade_polarity(answer, {_POLARITY[text] for text in wanted}, graded)
    return graded


def _kind_of(wanted: Sequence[str], choices: Sequence[str] | None) -> Kind:
    if choices:
        return "choice"
    return "number" if all(lone_number(text) is not None for text in wanted) else "text"


def _grade_polarity(answer: str, accepted: set[bool], otherwise: Label) -> Label:
    """Grade a yes/no answer by its first word: "No, they cannot." for "no".

    A sentence without such a word ("They cannot.") is undecided; a shorter answer keeps the outcome ``otherwise``.
    """
    first = _FIRST_WORD.match(fold(answer))
    said = _POLARITY.get(first[1]) if first else None
    if said is None:
        return "undecided" if _AUXILIARY.search(fold(answer)) else otherwise
    return "correct" if said in accepted else "incorrect"
