"""Whether passages speak of what a question asks about, told by their words: no call, no model.

A question's *specific* words are those that few questions of the fit have: names, mostly. Passages that hold
none of them are about something else. It says nothing of whether what they state is true.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from gating.saved import REMEDY
from gating.types import GatingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from gating.saved import Saved

_WORD = re.compile(r"\w+")
_SPACE = re.compile(r"\s")
_ACCENT = re.compile("[\u0300-\u036f]")
#: A word that more than this share of the questions have, and more than so many of them, is no specific one.
GENERIC_SHARE = 0.05
LEAST_GENERIC = 2
#: Shares of specific words that may part related passages from unrelated ones.
CUTS = (1.0, 0.75, 0.67, 0.5, 0.34, 0.25)
#: A side of a cut with fewer labels says nothing.
LEAST_SIDE = 5
#: Of a question: longer ones hold passages of their own, whose words would crowd out what is asked.
MOST_WORDS = 200
#: Characters that are read at once: a few milliseconds' work.
BLOCK = 65_536
LONGEST_WORD = 1_000


class Words(NamedTuple):
    """A question's words, each once, and which of them stand in its passages."""

    words: tuple[str, ...]
    held: tuple[bool, ...]


def words_of(question: str | None, passages: Sequence[str]) -> Words | None:
    """Them; None without a question or passages."""
    if question is None or not passages:
        return None
    asked: dict[str, None] = {}
    for block in _blocks(question):
        asked.update(dict.fromkeys(_split(block)))
        if len(asked) >= MOST_WORDS:
            break
    words = tuple(asked)[:MOST_WORDS]
    missing = set(words)
    for block in chain.from_iterable(map(_blocks, passages)):
        missing.difference_update(_split(block))
        if not missing:
            break
    return Words(words, tuple(word not in missing for word in words))


def _blocks(text: str) -> Iterator[str]:
    """The text in parts that are soon read, each up to a space: reading cannot be interrupted.

    Where there is no space for long (in some scripts, or in what is no text) a word may be cut in two.
    """
    start = 0
    while len(text) - start > BLOCK + LONGEST_WORD:
        space = _SPACE.search(text, start + BLOCK, start + BLOCK + LONGEST_WORD)
        end = space.start() if space else start + BLOCK
        yield text[start:end]
        start = end
    yield text[start:]


def _split(text: str) -> list[str]:
    """Its words in one case and without accents; far cheaper than ``normalise``: passages are long."""
    if not text.isascii():
        text = _ACCENT.sub("", unicodedata.normalize("NFKD", text))
    return _WORD.findall(text.casefold())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """``generic`` words say nothing of what a question is about; from the share ``cut`` on passages are related."""

    generic: frozenset[str] = field(default_factory=frozenset)
    cut: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a cut that is no share; NaN is none."""
        if not 0.0 < self.cut <= 1.0:
            raise GatingError(
                f"policy.conditions.vocabulary.cut: must be in (0, 1], not {self.cut!r}; {REMEDY}"
            )

    @classmethod
    def of(cls, questions: Iterable[Words | None]) -> Self:
        """The generic words of these questions."""
        counts: Counter[str] = Counter()
        n = 0
        for one in questions:
            if one is not None:
                counts.update(one.words)
                n += 1
        least = max(LEAST_GENERIC, GENERIC_SHARE * n)
        return cls(frozenset(word for word, count in counts.items() if count > least))

    def share(self, words: Words) -> float:
        """The share in [0, 1] of the question's specific words that stand in its passages; 0 where it has none."""
        held = [here for word, here in zip(words.words, words.held, strict=True) if word not in self.generic]
        return sum(held) / len(held) if held else 0.0

    def related(self, words: Words) -> bool:
        """Whether the passages speak of what is asked."""
        return self.share(words) >= self.cut

    def with_best_cut(self, shares: NDArray[np.float64], correct: NDArray[np.float64]) -> Vocabulary:
        """The cut of the CUTS that tells right from wrong best on ``shares`` (n,) and ``correct`` (n,).

        By log loss of the two base rates (Laplace's rule), of equal ones the strictest; where none parts enough
        labels it stays.
        """
        losses = {}
        for cut in CUTS:
            above = shares >= cut
            if min(int(above.sum()), int((~above).sum())) >= LEAST_SIDE:
                losses[cut] = _loss(correct[above]) + _loss(correct[~above])
        best = min(losses, key=losses.__getitem__, default=self.cut)
        return Vocabulary(self.generic, best)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"generic": sorted(self.generic), "cut": self.cut}

    @classmethod
    def load(cls, saved: Saved) -> Self:
        """What ``to_dict`` saved; raises GatingError naming the key."""
        return cls(frozenset(saved.texts("generic")), saved.number("cut"))


def _loss(correct: NDArray[np.float64]) -> float:
    """The summed log loss of labels (n,) under their own base rate."""
    right = float(correct.sum())
    rate = (right + 1) / (correct.size + 2)
    return float(-(right * np.log(rate) + (correct.size - right) * np.log(1 - rate)))
