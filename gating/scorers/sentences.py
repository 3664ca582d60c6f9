"""Long answers, sentence by sentence: an answer is worth no more than its weakest one.

Sentence-level agreement in the manner of SelfCheckGPT (Manakul, Liusie & Gales 2023, section 5), by words
instead of a further model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gating.grading import MAX_STATEMENT_WORDS, SENTENCE
from gating.scorers.similarity import Text, name_other_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What is compared takes up to this number squared of steps for each sample: half a second at the worst.
MOST_SENTENCES = 500


def sentences(text: str) -> tuple[str, ...]:
    """The sentences and lines of ``text`` that hold a letter or digit, in order."""
    parts = (part.strip() for part in SENTENCE.split(text.strip()))
    return tuple(part for part in parts if any(character.isalnum() for character in part))


def is_long(parts: Sequence[str]) -> bool:
    """Whether an answer of the sentences ``parts`` (n,) is compared sentence by sentence."""
    return len(parts) > 1 or any(len(part.split()) > MAX_STATEMENT_WORDS for part in parts)


def supported(parts: Sequence[Text], sample: str) -> list[float]:
    """How much ``sample`` says each of the sentences ``parts`` (n,), in [0, 1]: the most that one of its does.

    A pair of sentences by the Jaccard similarity of their words, and 0 where each names a number that the
    other does not. A sample that declines says none; of a longer one than MOST_SENTENCES the rest is not read.
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
    """The greatest similarity of ``part`` to one of ``said``; ``holders`` says which of them have a word."""
    words, common = set(part.words), Counter[int]()
    for word in words:
        common.update(holders.get(word, ()))
    best = 0.0
    for place, shared in common.items():
        likeness = shared / (len(words) + len(set(said[place].words)) - shared)
        if likeness > best and not name_other_numbers(part, said[place]):
            best = likeness
    return best
