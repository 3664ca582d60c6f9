"""The types of ``records.jsonl`` and ``questions.jsonl``: one struct for a line of each file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from gating.relatedness import words_of
from gating.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.grading import Label
    from gating.types import Words

#: Decimal places that a stored coordinate of an embedding keeps.
_EMBEDDING_DECIMALS = 6
#: A question's choices are lettered from A to Z.
MOST_CHOICES = 26

#: How the passages of a question relate to it: no passages, its own, another question's, both, or its own with a
#: false answer put in. ``context``: there were passages, and how they relate is not known. ``rescued``: the answer
#: was asked for without passages because the answer with passages was withheld; such records are not tuned on.
Condition = Literal["none", "relevant", "irrelevant", "mixed", "counterfactual", "context", "rescued"]


class Observed(Struct, frozen=True, kw_only=True):
    """The evidence of one answer as a record stores it; every field but the answer may be absent."""

    answer: str
    token_logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    samples: list[str] | None = None
    #: Vectors of the answer and then of its samples, in the reduced form of ``reduced_embeddings``.
    embeddings: list[list[float]] | None = None
    #: Cluster numbers of the answer and then of its samples: equal numbers mean the same.
    meanings: list[int] | None = None
    closed_book: Observed | None = None
    features: dict[str, float] | None = None
    label: Literal["correct", "incorrect", "abstained", "undecided"] | None = None

    def evidence(self, *, context: bool | None = None, words: Words | None = None) -> Evidence:
        """Return the evidence that scorers read.

        ``p_true`` and ``verbalised`` are stored among the features and become separate fields.
        ``context`` says whether the question was asked with passages (None: unknown); ``words`` are the words of
        the question and its passages.
        """
        features = dict(self.features or {})
        return Evidence(
            answer=self.answer,
            token_logprobs=self.token_logprobs,
            top_logprobs=self.top_logprobs,
            samples=self.samples or (),
            embeddings=self.embeddings,
            meanings=self.meanings,
            p_true=features.pop("p_true", None),
            verbalised=features.pop("verbalised", None),
            closed_book=None if self.closed_book is None else self.closed_book.evidence(),
            features=features,
            context=context,
            words=words,
        )


def reduced_embeddings(vectors: Sequence[Sequence[float]]) -> list[list[float]] | None:
    """Rotate the vectors (n, d) so that their first min(n, d) coordinates hold everything, and keep only those.

    A rotation changes no length and no angle, so a record stores dozens of numbers in place of thousands. Return
    None where the vectors differ in length or one is not finite, since they cannot be compared.
    """
    import numpy as np

    if len(set(map(len, vectors))) != 1:
        return None
    triangle = np.linalg.qr(np.array(vectors, dtype=np.float64).T).R.T
    return triangle.round(_EMBEDDING_DECIMALS).tolist() if np.isfinite(triangle).all() else None


class Answer(Observed, frozen=True, kw_only=True):
    """An answer with its question, as the audit sample stores it; it may have no label yet."""

    id: str
    group: str | None = None
    question: str | None = None
    #: How the passages relate to the question; "none" where there were none, None where it is not recorded.
    condition: Condition | None = None
    #: The texts of the passages.
    context: list[str] | None = None
    #: With passages, ``answer`` once more as its own labelled entry, beside ``closed_book``.
    open_book: Observed | None = None
    #: The label that the grading rules gave, where ``label`` is a judge's.
    matched: Literal["correct", "incorrect", "abstained", "undecided"] | None = None
    #: Who made ``label``; None where the record does not say.
    labelled_by: Literal["person", "grader", "judge"] | None = None
    #: The fingerprint of the route that made the answer: its model and sampling parameters.
    made_with: dict[str, Any] | None = None
    #: The probability in (0, 1] with which it was drawn from the traffic; None where it was not drawn at random.
    propensity: float | None = None

    def evidence(self, *, context: bool | None = None, words: Words | None = None) -> Evidence:
        """Return the evidence that scorers read; ``context`` and ``words`` default to what the record says."""
        if context is None and self.condition is not None:
            context = None if self.condition == "rescued" else self.condition != "none"
        return super().evidence(context=context, words=words or words_of(self.question, self.context or ()))


class Record(Answer, frozen=True, kw_only=True):
    """One line of ``records.jsonl``: an answer with its label."""

    label: Literal["correct", "incorrect", "abstained", "undecided"]

    @property
    def without(self) -> tuple[Evidence, Label] | None:
        """The labelled answer to the same question without passages, where the question had passages."""
        closed = self.closed_book
        if closed is None or closed.label is None or self.condition in (None, "none", "rescued"):
            return None
        return replace(closed.evidence(context=False), rescued=True), closed.label


class Message(Struct, frozen=True):
    """One turn of a question that is given as a conversation."""

    role: str
    content: str


class Question(Struct, frozen=True, kw_only=True):
    """One line of ``questions.jsonl``, with the question either as text or as a conversation."""

    id: str
    answers: list[str]
    question: str | None = None
    messages: list[Message] | None = None
    group: str | None = None
    context: list[str] | None = None
    choices: list[str] | None = None
    #: How the passages relate to the question; without it they are taken to be the question's own.
    condition: Condition | None = None

    def __post_init__(self) -> None:
        """Refuse a question that cannot be asked or graded; raises ValueError."""
        if (self.question is None) == (self.messages is None):
            raise ValueError("give either question or messages")
        if not self.answers:
            raise ValueError("answers: name at least one accepted answer")
        if len(self.choices or ()) > MOST_CHOICES:
            raise ValueError(f"choices: at most {MOST_CHOICES}, one for each letter")
