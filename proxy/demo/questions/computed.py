"""Questions whose answers are computed: arithmetic, powers and Roman numerals, in rising difficulty."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEED = 20_240_229  # fixes the operands; any other seed gives an equally good set

_SUMS = 24
"""The number of questions for each operation and size of operands."""

_ROMAN = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL")),
    *((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)


def computed() -> Iterator[tuple[str, str, str]]:
    """Yield (kind, question, answer), each question once."""
    draw = random.Random(_SEED)  # noqa: S311 - operands, no secrets
    for low, high in ((2, 9), (11, 99), (101, 999)):
        for first, second in _pairs(draw, low, high):
            yield "sum", f"What is {first} + {second}?", str(first + second)
        for first, second in _pairs(draw, low, high):
            larger, smaller = max(first, second), min(first, second)
            yield "difference", f"What is {larger} - {smaller}?", str(larger - smaller)
        for first, second in _pairs(draw, low, high):
            yield "product", f"What is {first} * {second}?", str(first * second)
    for base in range(11, 31):
        yield "power", f"What is {base} squared?", str(base**2)
    for base in range(3, 16):
        yield "power", f"What is {base} cubed?", str(base**3)
    for number in sorted(draw.sample(range(4, 100), 20) + draw.sample(range(100, 2100), 20)):
        yield "roman", f"What is the Roman numeral {roman(number)} as an ordinary number?", str(number)


def roman(number: int) -> str:
    """Return ``number``, from 1 to 3999, in Roman numerals."""
    numeral = ""
    for value, letters in _ROMAN:
        count, number = divmod(number, value)
        numeral += letters * count
    return numeral


def _pairs(draw: random.Random, low: int, high: int) -> list[tuple[int, int]]:
    """Draw ``_SUMS`` pairs of unequal operands, no two with the same pair of numbers."""
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    while len(pairs) < _SUMS:
        first, second = draw.sample(range(low, high + 1), 2)
        pairs.setdefault((min(first, second), max(first, second)), (first, second))
    return list(pairs.values())
