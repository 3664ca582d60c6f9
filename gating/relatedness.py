"""Relatedness of passages to a question, by their words alone: no model and no further call.

A question's *specific* words are those that few questions of the fit have, mostly names. Passages that contain
none of them are about something else. Relatedness says nothing about whether the passages are true.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gating.saved import REMEDY
from gating.types import GatingError, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from gating.saved import Saved

_WORD = re.compile(r"\w+")
_SPACE = re.compile(r"\s")
_ACCENT = re.compile("[\u0300-\u036f]")
#: A word is generic where more than this share of the questions, and more than this number, contain it.
GENERIC_SHARE = 0.05
LEAST_GENERIC = 2
#: Candidate thresholds on the share of specific words that related passages contain.
CUTS = (1.0, 0.75, 0.67, 0.5, 0.34, 0.25)
#: Fewest labels on each side of a threshold.
LEAST_SIDE = 5
#: Most words of a question that are used: longer questions contain passages whose words hide the question.
MOST_WORDS = 200
#: Characters that are split at once; a block takes a few milliseconds.
BLOCK = 65_536
LONGEST_WORD = 1_000


def words_of(question: str | None, passages: Sequence[str]) -> Words | None:
    """Return the words of the question and which occur in the passages; None without a question or passages."""
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
    """Split the text at spaces into blocks, so that other work can run between them.

    Where there is no space for LONGEST_WORD characters (in some scripts, or in binary data), a word is cut.
    """
    start = 0
    while len(text) - start > BLOCK + LONGEST_WORD:
        space = _SPACE.search(text, start + BLOCK, start + BLOCK + LONGEST_WORD)
        end = space.start() if space else start + BLOCK
        yield text[start:end]
        start = end
    yield text[start:]


def _split(text: str) -> list[str]:
    """Return the words of a text in lower case and without accents; much cheaper than ``normalise``."""
    if not text.isascii():
        text = _ACCENT.sub("", unicodedata.normalize("NFKD", text))
    return _WORD.findall(text.casefold())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ``generic`` words of the fit's questions, and the share ``cut`` from which on passages are related."""

    generic: frozenset[str] = field(default_factory=frozenset)
    cut: float = 0.5

    def __post_init__(self) -> None:
        """Raise GatingError unless the cut lies in (0, 1]; NaN does not."""
        if not 0.0 < self.cut <= 1.0:
            raise GatingError(
                f"policy.conditions.vocabulary.cut: must be in (0, 1], not {self.cut!r}; {REMEDY}"
            )

    @classmethod
    def of(cls, questions: Iterable[Words | None]) -> Self:
        """Return a vocabulary with the generic words of these questions."""
        counts: Counter[str] = Counter()
        n = 0
        for one in questions:
            if one is not None:
                counts.update(one.words)
                n += 1
        least = max(LEAST_GENERIC, GENERIC_SHARE * n)
        return cls(frozenset(word for word, count in counts.items() if count > least))

    def share(self, words: Words) -> float:
        """Return the share in [0, 1] of the question's specific words that occur in its passages; 0 without any."""
        held = [here for word, here in zip(words.words, words.held, strict=True) if word not in self.generic]
        return sum(held) / len(held) if held else 0.0

    def related(self, words: Words) -> bool:
        """Return whether the passages are about the question."""
        return self.share(words) >= self.cut

    def with_best_cut(self, shares: NDArray[np.float64], correct: NDArray[np.float64]) -> Vocabulary:
        """Return the vocabulary with the cut of CUTS that separates right from wrong answers best.

        ``shares`` (n,) and ``correct`` (n,). The criterion is the log loss of the base rates on both sides
        (Laplace's rule); ties go to the highest cut. Without enough labels on both sides the cut is unchanged.
        """
        losses = {}
        for cut in CUTS:
            above = shares >= cut
            if min(int(above.sum()), int((~above).sum())) >= LEAST_SIDE:
                losses[cut] = _loss(correct[above]) + _loss(correct[~above])
        best = min(losses, key=losses.__getitem__, default=self.cut)
        return Vocabulary(self.generic, best)

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as plain JSON values."""
        return {"generic": sorted(self.generic), "cut": self.cut}

    @classmethod
    def load(cls, saved: Saved) -> Self:
        """Read what ``to_dict`` saved; raises GatingError naming the key."""
        return cls(frozenset(saved.texts("generic")), saved.number("cut"))


def _loss(correct: NDArray[np.float64]) -> float:
    """Return the summed log loss, in nats, of labels (n,) under their base rate."""
    right = float(correct.sum())
    rate = (right + 1) / (correct.size + 2)
    return float(-(right * np.log(rate) + (correct.size - right) * np.log(1 - rate)))
