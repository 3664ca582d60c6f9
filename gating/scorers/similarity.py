"""How much two answers say the same, in [0, 1], by their words: what the agreement of samples is made of."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gating.answers import fold, is_abstention, normalise
from gating.grading import CONCLUSION, lone_number, stated_letter, stated_number

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?!\w)")
_YEAR = re.compile(r"1\d{3}|20\d{2}")


@dataclass(frozen=True, slots=True)
class Text:
    """An answer as it is compared: read once, held against many.

    ``normal`` is its normalised spelling and ``words`` (n,) that cut at spaces; ``number`` is set where it is
    nothing but a number, ``stated`` where it comes to one; ``numbers`` are all it names; ``letter`` is the
    choice that it gives. A text that ``declines`` to answer agrees with nothing, not even with its like.
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
        """Read it."""
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
    """|A ∩ B| / |A ∪ B| over the sets of words (Jaccard 1901)."""
    union = {*one.words, *other.words}
    return len({*one.words} & {*other.words}) / len(union) if union else 0.0


def rouge_l(one: Text, other: Text) -> float:
    """ROUGE-L (Lin 2004, section 3): F1 of the longest common subsequence of words, 2 L / (n + m)."""
    total = len(one.words) + len(other.words)
    return 2 * _longest_common(one.words, other.words) / total if total else 0.0


def same(one: Text, other: Text) -> bool | None:
    """Whether two answers are equal in spelling, number or choice; None where their words must tell.

    Two numbers are equal in value, and a number to the one that a sentence comes to. Choices are equal where
    their letters are, unless both have a text beside it, which then decides. Texts that name other numbers
    are different, unless one names all that the other does.
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
    """Whether each of two texts names a number that the other does not."""
    return not (one.numbers <= other.numbers or other.numbers <= one.numbers)


def equal(one: Text, other: Text) -> float:
    """1 where ``same`` is sure that they are, else 0."""
    return 1.0 if same(one, other) else 0.0


def alike(one: Text, other: Text) -> float:
    """1 or 0 where ``same`` decides, else the words' Jaccard similarity."""
    decided = same(one, other)
    return jaccard(one, other) if decided is None else float(decided)


def comes_to(text: Text, value: float, *, is_year: bool = False) -> bool:
    """Whether ``text`` is ``value`` or a statement that ends in it; of a year also one that names it."""
    if text.declines:
        return False
    stated = text.number
    if stated is None:
        stated = stated_number(text.folded, is_year=is_year)
    return stated is not None and math.isclose(stated, value, rel_tol=1e-9)


def concluded_number(sentence: str) -> float | None:
    """The number that a sentence concludes with ("The answer is 18", "3 * 6 = 18", "#### 18"), or None."""
    folded = fold(sentence)
    return stated_number(folded, is_year=False) if CONCLUSION.search(folded) else None


def _is_year(text: Text) -> bool:
    return _YEAR.fullmatch(text.normal) is not None


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, in len(one) * len(other) steps."""
    lengths = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for (diagonal, above), candidate in zip(pairwise(lengths), other, strict=True):
            row.append(diagonal + 1 if word == candidate else max(above, row[-1]))
        lengths = row
    return lengths[-1]
