"""Agreement of further samples with the served answer.

The score is self-consistency (Wang et al. 2023) used as a confidence: the share of the samples that agree with
the served answer, not with their own majority. A sample that declines ("I don't know") agrees with nothing.
Samples that all decline give 0, the lowest score, so that a route with ``on_unmeasured: answer`` does not serve
the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, hypot, isfinite
from operator import mul
from typing import TYPE_CHECKING, TypeVar

from gating.answers import is_abstention
from gating.scorers.base import Bounds, score_of_all
from gating.scorers.sentences import MOST_SENTENCES, is_long, sentences, supported
from gating.scorers.similarity import Text, alike, comes_to, concluded_number, equal, jaccard
from gating.types import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gating.scorers.base import Need, Scale
    from gating.types import Evidence

T = TypeVar("T")
#: (n, k), n >= 1: how far each of the k samples supports each of the answer's n parts, in [0, 1].
Support = list[list[float]]


@dataclass(frozen=True, slots=True)
class AgreementScorer:
    """The mean support of the k samples for the answer, in [0, 1]; for a long answer, for its weakest part.

    The scale is the real line, because a share of votes is not a probability: no vote among five does not mean
    impossible, and its log-odds would be infinite.
    """

    name: str
    compare: Callable[[Evidence], Support | Unmeasured]
    needs: frozenset[Need] = frozenset({"samples"})
    scale: Scale = "real"

    def score(self, evidence: Evidence) -> float | Unmeasured:
        """Return the mean support; Unmeasured without samples, or where the answer cannot be compared."""
        return score_of_all(self, evidence)

    def bounds(self, evidence: Evidence, k: int) -> Bounds | Unmeasured:
        """Return the bounds of the score with ``k`` samples: each missing sample supports nothing or everything."""
        support = self.compare(evidence)
        if isinstance(support, Unmeasured):
            return support
        to_come = k - len(evidence.samples)
        return Bounds(
            min(fsum(said) / k for said in support),
            min(fsum([*said, to_come]) / k for said in support),
        )


def by_texts(measure: Callable[[Text, Text], float]) -> Callable[[Evidence], Support | Unmeasured]:
    """Return a comparison of the whole answer with each sample by ``measure``, which lies in [0, 1]."""

    def compare(evidence: Evidence) -> Support | Unmeasured:
        answer = read(evidence.answer)
        if isinstance(answer, Unmeasured):
            return answer
        samples = map(Text.of, evidence.samples)
        return [[0.0 if sample.declines else measure(answer, sample) for sample in samples]]

    return compare


def read(answer: str) -> Text | Unmeasured:
    """Return the answer ready for comparison; Unmeasured where it declines or has no words."""
    text = Text.of(answer)
    if text.declines:
        return Unmeasured("the answer declines")
    return text if text.words else Unmeasured("the answer has no words")


def by_kind(evidence: Evidence) -> Support | Unmeasured:
    """Compare numbers by value, choices by letter, short texts by words, and long ones sentence by sentence.

    A long answer that concludes with a number ("… The answer is 18.") counts as that number, as in
    self-consistency.
    """
    parts = sentences(evidence.answer)
    if not is_long(parts):
        return _SHORT(evidence)
    number = concluded_number(parts[-1])
    if number is None:
        return by_sentence(evidence, parts)
    return [[float(comes_to(Text.of(sample), number)) for sample in evidence.samples]]


def by_sentence(evidence: Evidence, parts: Sequence[str]) -> Support | Unmeasured:
    """Compare each of the answer's sentences ``parts`` (n,) with the sentences of each sample."""
    if is_abstention(evidence.answer):
        return Unmeasured("the answer declines")
    if len(parts) > MOST_SENTENCES:
        return Unmeasured(f"the answer has {len(parts)} sentences; up to {MOST_SENTENCES} are compared")
    texts = list(map(Text.of, parts))
    columns = [supported(texts, sample) for sample in evidence.samples]
    return [[column[place] for column in columns] for place in range(len(texts))]


def weakest_first(evidence: Evidence) -> list[tuple[str, float]]:
    """Return the answer's sentences with their mean support in [0, 1], in ascending order of support.

    The list is empty without samples, and for answers that are short or cannot be compared.
    """
    parts = sentences(evidence.answer)
    if not (evidence.samples and is_long(parts)):
        return []
    support = by_sentence(evidence, parts)
    if isinstance(support, Unmeasured):
        return []
    means = [fsum(said) / len(said) for said in support]
    return sorted(zip(parts, means, strict=True), key=lambda sentence: sentence[1])


def by_embedding(evidence: Evidence) -> Support | Unmeasured:
    """Compare by the cosine of the answer's vector with each sample's, negative values as 0."""
    if is_abstention(evidence.answer):
        return Unmeasured("the answer declines")
    vectors = one_each(evidence, "embeddings", evidence.embeddings)
    if isinstance(vectors, Unmeasured):
        return vectors
    if len({len(vector) for vector in vectors}) > 1:
        return Unmeasured("the embeddings differ in length")
    lengths = [hypot(*vector) for vector in vectors]
    if not all(isfinite(length) and length > 0.0 for length in lengths):
        return Unmeasured("an embedding is zero or not finite")
    said = zip(evidence.samples, vectors[1:], lengths[1:], strict=True)
    cosines = [
        0.0 if is_abstention(sample) else fsum(map(mul, vectors[0], vector)) / lengths[0] / length
        for sample, vector, length in said
    ]
    return [[min(max(cosine, 0.0), 1.0) for cosine in cosines]]


def by_judge(evidence: Evidence) -> Support | Unmeasured:
    """Compare by a judge's clusters: 1 for each sample with the same meaning as the answer, else 0."""
    if is_abstention(evidence.answer):
        return Unmeasured("the answer declines")
    meanings = one_each(evidence, "meanings", evidence.meanings)
    if isinstance(meanings, Unmeasured):
        return meanings
    said = zip(evidence.samples, meanings[1:], strict=True)
    return [[float(meaning == meanings[0] and not is_abstention(sample)) for sample, meaning in said]]


def one_each(evidence: Evidence, what: str, given: Sequence[T] | None) -> Sequence[T] | Unmeasured:
    """Return ``given`` if it has one item for the answer and each sample; Unmeasured otherwise.

    Without samples, only the answer's item is returned, if any.
    """
    if not evidence.samples:
        return given[:1] if given else ()
    if given is None:
        return Unmeasured(f"no {what}")
    if len(given) != 1 + len(evidence.samples):
        return Unmeasured(f"{len(given)} {what} for an answer and {len(evidence.samples)} samples")
    return given


_SHORT = by_texts(alike)
#: The agreement that fits the answer's kind; other scorers build on it.
AGREEMENT = AgreementScorer("agreement", by_kind)
AGREEMENT_SCORERS = (
    AGREEMENT,
    AgreementScorer("agreement_exact", by_texts(equal)),
    AgreementScorer("agreement_jaccard", by_texts(jaccard)),
    AgreementScorer("agreement_embedding", by_embedding, frozenset({"samples", "embeddings"})),
    AgreementScorer("agreement_judge", by_judge, frozenset({"samples", "meanings"})),
)
