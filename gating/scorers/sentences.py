"""Support for long answers, sentence by sentence.

This is sentence-level agreement in the manner of SelfCheckGPT (Manakul, Liusie & Gales 2023, section 5), with a
comparison of words instead of a further model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gating.grading import SENTENCE
from gating.scorers.similarity import Text, name_other_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A single sentence with more words is compared sentence by sentence too.
MAX_STATEMENT_WORDS = 30
#: Most sentences that are compared. The cost for each sample grows with the square: half a second at most.
MOST_SENTENCES = 500


def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences and lines of ``text`` that contain a letter or digit, in order."""
    parts = (part.strip() for part in SENTENCE.split(text.strip()))
    return tuple(part for part in parts if any(character.isalnum() for character in part))


def is_long(parts: Sequence[str]) -> bool:
    """Return whether an answer with the sentences ``parts`` (n,) is compared sentence by sentence."""
    return len(parts) > 1 or any(len(part.split()) > MAX_STATEMENT_WORDS for part in parts)


def supported(parts: Sequence[Text], sample: str) -> list[float]:
    """Return how far ``sample`` supports each of the sentences ``parts`` (n,), in [0, 1].

    The support of a sentence is its greatest similarity to a sentence of the sample: the Jaccard similarity of
    their words, and 0 where each contains a number that the other does not. A sample that declines supports
    nothing. Sentences of the sample beyond MOST_SENTENCES are ignored.
    """
    if Text.of(sample).declines:
        return [0.0] * len(parts)
    said = [Text.of(sentence) for sentence in sentences(sample)[:MOST_SENTENCES]]
    holders = defaultdict(list)
    for place, sentence in enumerate(said):
        for word in set(sentence.words):
            holders[word].append(place)
    return [_most(part, said, holders) for part in parts]


def _most(part: Text, said: Sequence[Text], holders: dict[str, list[int]]) -> float:
    """Return the greatest similarity of ``part`` to one of ``said``; ``holders`` maps words to sentences."""
    words, common = set(part.words), Counter[int]()
    for word in words:
        common.update(holders.get(word, ()))
    best = 0.0
    for place, shared in common.items():
        likeness = shared / (len(words) + len(set(said[place].words)) - shared)
        if likeness > best and not name_other_numbers(part, said[place]):
            best = likeness
    return best
