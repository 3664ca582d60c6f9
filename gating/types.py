"""The frozen types that are passed between the steps of gating."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class GatingError(ValueError):
    """Input that cannot be gated, tuned or certified; the message names the place and the remedy."""


class Words(NamedTuple):
    """The distinct words of a question, and for each whether it occurs in the passages."""

    words: tuple[str, ...]
    held: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """The absence of a score, with the reason; it never passes a threshold."""

    reason: str

    def __bool__(self) -> bool:
        """Return False, so that ``score or …`` does not treat the absence of a score as a score."""
        return False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was observed about one answer.

    - ``token_logprobs`` (n_tokens,): natural logarithms of the probabilities of the answer's tokens.
      ``Unmeasured`` where the upstream sent logprobs that cannot be used, None where it sent none. Sentinels
      (-9999, -inf) are allowed; scorers clip them.
    - ``top_logprobs`` (n_tokens, k): those of the most likely tokens at each position, in any order.
    - ``samples`` (k,): further answers to the same question.
    - ``embeddings`` (1 + k, d): vectors of the answer and its samples, in that order.
    - ``meanings`` (1 + k,): cluster numbers, equal where a judge found that two answers say the same.
    - ``p_true``: the model's probability in [0, 1] that the answer is true.
    - ``verbalised``: the confidence in [0, 1] that the model stated when it was asked for it.
    - ``closed_book``: the evidence of the answer to the same question without its passages.
    - ``features``: further scores that the user supplies (higher = more confident).
    - ``context``: whether the question came with passages; None where that is unknown.
    - ``rescued``: whether the question was asked again without passages, because the answer with them was
      withheld.
    - ``words``: the words of the question, and which of them occur in its passages.
    """

    answer: str
    token_logprobs: Sequence[float] | Unmeasured | None = None
    top_logprobs: Sequence[Sequence[float]] | None = None
    samples: Sequence[str] = ()
    embeddings: Sequence[Sequence[float]] | None = None
    meanings: Sequence[int] | None = None
    p_true: float | None = None
    verbalised: float | None = None
    closed_book: Evidence | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    context: bool | None = None
    rescued: bool = False
    words: Words | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The statement ``risk <= target_risk with probability >= 1 - delta``, over the random draw of its labels.

    Of the ``total`` certification labels, ``answered`` reach the threshold and ``errors`` of those are wrong.
    ``bound`` is the exact upper confidence bound of the risk at that one threshold, at level 1 - delta
    (Clopper & Pearson 1934). ``fingerprint`` describes how the labelled answers were made; it equals the
    policy's. It is empty where the records do not say, and None in certificates of old policies.
    """

    target_risk: float
    delta: float
    errors: int
    answered: int
    total: int
    bound: float
    method: str = "split_walk"
    splits: Mapping[str, int] = field(default_factory=dict)
    created: str = ""
    fingerprint: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise GatingError where the counts or the bound contradict the statement."""
        if not 0 <= self.errors <= self.answered <= self.total or self.answered == 0:
            raise GatingError(
                f"certificate: errors {self.errors}, answered {self.answered} and total {self.total} "
                "do not nest; tune the policy again"
            )
        if not (
            0 < self.target_risk < 1 and 0 < self.delta < 1 and self.errors / self.answered <= self.bound
        ):
            raise GatingError("certificate: target_risk, delta or bound out of range; tune the policy again")
        if not self.bound <= self.target_risk:
            raise GatingError(
                f"certificate: its bound {self.bound:.6g} is above its target {self.target_risk:.6g}; "
                "that certifies nothing, tune the policy again"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain JSON values."""
        return {
            "target_risk": self.target_risk,
            "delta": self.delta,
            "errors": self.errors,
            "answered": self.answered,
            "total": self.total,
            "bound": self.bound,
            "method": self.method,
            "splits": dict(self.splits),
            "created": self.created,
            "fingerprint": None if self.fingerprint is None else dict(self.fingerprint),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's decision about one answer.

    ``decision`` is answer, abstain, rescue or escalate. ``confidence`` and ``threshold`` lie in [0, 1], or are
    None without a policy. ``score`` is the raw score, None where the answer is unmeasured. ``source`` names the
    evidence that was used: logprobs, samples, logprobs+samples, p_true or none. ``detail`` says why an answer
    is unmeasured.
    """

    decision: str
    reason: str
    confidence: float | None = None
    threshold: float | None = None
    score: float | None = None
    source: str = "none"
    detail: str | None = None

    @property
    def served(self) -> bool:
        """Whether the client receives an answer of a model."""
        return self.decision in ("answer", "rescue", "escalate")


@dataclass(frozen=True, slots=True)
class RiskEstimate:
    """Counts of labelled answers; ratios are computed last."""

    errors: int
    answered: int
    total: int

    def __post_init__(self) -> None:
        """Raise GatingError unless errors <= answered <= total."""
        if not 0 <= self.errors <= self.answered <= self.total:
            raise GatingError(
                f"counts do not nest: errors {self.errors}, answered {self.answered}, total {self.total}"
            )

    @property
    def risk(self) -> float | None:
        """Wrong answers among those answered, in [0, 1]; None where nothing was answered."""
        return self.errors / self.answered if self.answered else None

    @property
    def coverage(self) -> float | None:
        """Answered among all, in [0, 1]; None where there are no answers."""
        return self.answered / self.total if self.total else None
