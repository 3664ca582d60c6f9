"""Numbers in folded answers: which number an answer states, and whether it is an accepted one."""

from __future__ import annotations

import math
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from gating.answers import UNSPACED
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.grading.outcomes import Label

RELATIVE_TOLERANCE = 0.005
"""Tolerance for accepted numbers with a fractional part: three significant digits (3.14 for pi)."""

_SCALES = MappingProxyType(
    {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
)
#: A number. An exponent of a unit ("36 m^2") does not begin one; a character of a script without spaces may precede.
_NUMBER = (
    rf"(?P<sign>(?<![\w)])-\s?)?(?:(?<![\w.^])(?<!\^\{{)|(?<=[{UNSPACED}]))[$€£]?(?P<digits>\d+(?:\.\d+)?|\.\d+)"
    r"(?!\d|(?:st|nd|rd|th)\b)(?:e(?P<power>[+-]?\d{1,2})\b)?"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})\b)?"
)
_ANY_NUMBER = re.compile(_NUMBER)
_WHOLE_NUMBER = re.compile(_NUMBER + r"\s*[%€£]?")
#: The conclusion of a calculation or a statement, in folded text.
CONCLUSION = re.compile(
    r"(?:=|\banswer(?: is)?|^a:|####|boxed\{)[^\w\n.-]*(?:(?:about|approximately|around|roughly) )?"
    + _NUMBER,
    re.MULTILINE,
)
_SEVERAL_NUMBERS = re.compile(
    r"\d\s*(?:\bor\b|\bto\b|[-–/])\s*\d[\d.]*[^\d]*$|\bbetween\b[^\d]*[\d.]+ and [\d.]+[^\d]*$"
)
_NOT = re.compile(r"\b(?:not|isnt|wasnt|never)\W+$")
_YEAR = re.compile(r"1\d{3}|20\d{2}")
#: Answers with more words are prose, in which a number beside the accepted one does not make the answer wrong.
_PROSE_WORDS = 6


def grade_number(answer: str, folded: str, accepted: Sequence[str]) -> Label:
    """Grade an answer whose ``accepted`` answers (normalised) are all numbers; ``folded`` is the folded answer.

    The stated number decides. Where it is not accepted, but an accepted number occurs in prose that has no
    conclusion, the answer is undecided: "The legal age is 18, and 16 with a court order."
    """
    targets = [lone_number(text) for text in accepted]
    if None in targets:
        raise GatingError(
            f"answers: {accepted[targets.index(None)]!r} is no number; give one, or use kind text"
        )
    numbers = [target for target in targets if target is not None]
    is_year = all(_YEAR.fullmatch(text) for text in accepted)
    stated = stated_number(folded, is_year=is_year)
    if stated is not None and _is_one_of(stated, numbers):
        return "correct"
    if CONCLUSION.search(folded) or len(answer.split()) <= _PROSE_WORDS:
        return "incorrect"
    first = _first_sentence_number(folded, is_year=is_year)
    if first is not None and _is_one_of(first, numbers):
        return "correct"
    named = any(_is_one_of(_read(match), numbers) for match in _ANY_NUMBER.finditer(folded))
    return "undecided" if named else "incorrect"


def stated_number(text: str, *, is_year: bool) -> float | None:
    """Return the number that a folded answer concludes with, or None where there is none or it is ambiguous."""
    if conclusions := list(CONCLUSION.finditer(text)):
        return _read(conclusions[-1])
    numbers = list(_ANY_NUMBER.finditer(text))
    years = [number for number in numbers if _YEAR.fullmatch(number["digits"])]
    if is_year and len({year["digits"] for year in years}) == 1:  # "In 1969, Apollo 11 landed."
        numbers = years[:1]
    if not numbers or _SEVERAL_NUMBERS.search(text) or _NOT.search(text[: numbers[-1].start()]):
        return None
    return _read(numbers[-1])


def lone_number(text: str) -> float | None:
    """Return the number that a normalised text consists of, or None where it is anything else."""
    match = _WHOLE_NUMBER.fullmatch(text)
    return _read(match) if match else None


def _first_sentence_number(folded: str, *, is_year: bool) -> float | None:
    """Return the only number of the first sentence (for a year: the only year), or None."""
    sentence = re.split(r"(?<=[a-z\d)]{2}[.!?])\s+|\n+", folded.strip(), maxsplit=1)[0]
    found = {
        _read(match)
        for match in _ANY_NUMBER.finditer(sentence)
        if not is_year or _YEAR.fullmatch(match["digits"])
    }
    if (
        len(found) != 1
        or _SEVERAL_NUMBERS.search(sentence)
        or re.search(r"\b(?:not|isnt|wasnt|never)\b", sentence)
    ):
        return None
    return found.pop()


def _read(match: re.Match[str]) -> float:
    value = float(match["digits"]) * _SCALES.get(match["scale"], 1.0) * 10.0 ** int(match["power"] or 0)
    return -value if match["sign"] else value


def _is_one_of(stated: float, targets: Sequence[float]) -> bool:
    """Return whether ``stated`` equals a whole target exactly, or another within RELATIVE_TOLERANCE."""
    return any(
        math.isclose(stated, target, rel_tol=1e-9 if target.is_integer() else RELATIVE_TOLERANCE)
        for target in targets
    )
