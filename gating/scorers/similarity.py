"""Similarity of two answers in [0, 1] by their words, numbers and choices."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gating.answers import fold, is_abstention, normalise
from gating.grading import CONCLUSION, lone_number, stated_letter, stated_number

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?!\w)")
_YEAR = re.compile(r"1\d{3}|20\d{2}")


@dataclass(frozen=True, slots=True)
class Text:
    """An answer prepared for comparison with many others.

    ``normal`` is the normalised spelling and ``words`` (n,) its words. ``number`` is set where the text is
    nothing but a number; ``numbers`` are all numbers in it; ``letter`` is the choice that it states. A text that
    ``declines`` agrees with no text, not even with another that declines.
    """

    folded: str
    normal: str
    words: tuple[str, ...]
    number: float | None
    numbers: frozenset[float]
    letter: str | None
    declines: bool

    @classmethod
    def of(cls, raw: str) -> Text:
        """Prepare the text ``raw``."""
        normal = normalise(raw)
        return cls(
            folded=fold(raw),
            normal=normal,
            words=tuple(normal.split()),
            number=lone_number(normal),
            numbers=frozenset(map(float, _NUMBER.findall(normal))),
            letter=stated_letter(raw),
            declines=is_abstention(raw),
        )


def jaccard(one: Text, other: Text) -> float:
    """Return |A ∩ B| / |A ∪ B| of the sets of words (Jaccard 1901)."""
    union = {*one.words, *other.words}
    return len({*one.words} & {*other.words}) / len(union) if union else 0.0


def same(one: Text, other: Text) -> bool | None:
    """Return whether two answers are equal in spelling, number or choice; None where their words must decide.

    Numbers are compared by value, also with the number that a sentence concludes with. Choices are equal where
    their letters are, unless both have a text with the letter; then the texts decide. Texts with different
    numbers are different, unless the numbers of one include those of the other.
    """
    if one.declines or other.declines or not (one.normal and other.normal):
        return False
    if one.normal == other.normal:
        return True
    if one.number is not None:
        return comes_to(other, one.number, is_year=_is_year(one))
    if other.number is not None:
        return comes_to(one, other.number, is_year=_is_year(other))
    if one.letter is not None and other.letter is not None:
        if one.letter != other.letter:
            return False
        if 1 in (len(one.normal), len(other.normal)):
            return True
    return False if name_other_numbers(one, other) else None


def name_other_numbers(one: Text, other: Text) -> bool:
    """Return whether each of two texts contains a number that the other does not."""
    return not (one.numbers <= other.numbers or other.numbers <= one.numbers)


def equal(one: Text, other: Text) -> float:
    """Return 1 where ``same`` says that the texts are equal, else 0."""
    return 1.0 if same(one, other) else 0.0


def alike(one: Text, other: Text) -> float:
    """Return 1 or 0 where ``same`` decides, else the Jaccard similarity of the words."""
    decided = same(one, other)
    return jaccard(one, other) if decided is None else float(decided)


def comes_to(text: Text, value: float, *, is_year: bool = False) -> bool:
    """Return whether ``text`` is ``value`` or a statement that concludes with it; a year may occur anywhere."""
    if text.declines:
        return False
    stated = text.number
    if stated is None:
        stated = stated_number(text.folded, is_year=is_year)
    return stated is not None and math.isclose(stated, value, rel_tol=1e-9)


def concluded_number(sentence: str) -> float | None:
    """Return the number that a sentence concludes with ("The answer is 18", "3 * 6 = 18", "#### 18"), or None."""
    folded = fold(sentence)
    return stated_number(folded, is_year=False) if CONCLUSION.search(folded) else None


def _is_year(text: Text) -> bool:
    return _YEAR.fullmatch(text.normal) is not None
