"""The types that travel between the steps of gating; frozen, so that no step changes what another saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gating.relatedness import Words


class GatingError(ValueError):
    """Input that cannot be gated, tuned or certified; the message names the place and the mend."""


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A score that could not be had, and why; it is neither 0 nor NaN and never passes a threshold."""

    reason: str

    def __bool__(self) -> bool:
        """False, so that ``score or …`` cannot mistake the absence of a score for one."""
        return False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was observed of one answer.

    ``token_logprobs`` (n_tokens,) natural logarithms of the answer's own tokens, ``Unmeasured`` where they
    came but cannot be used, None where none came; ``top_logprobs`` (n_tokens, k) the most likely tokens at
    each place, in any order; ``samples`` (k,) further answers to the same question; ``embeddings`` (1 + k, d)
    vectors of the answer and its samples, in that order; ``meanings`` (1 + k,) numbers of what they say: equal
    where a judge found two of them to say the same; ``p_true`` the model's probability in [0, 1] that the
    answer is true, ``verbalised`` the confidence in [0, 1] that it put in words; ``closed_book`` the evidence
    of the same question asked without its context; ``features`` scores of the user's own (higher = more
    confident); ``context`` whether the question came with passages, None where nobody knows; ``rescued``
    whether it was asked without them because its answer with them was withheld; ``words`` those of the
    question, and which stand in its passages. Sentinels (-9999, -inf) may stand in the logprobs: scorers clip
    them.
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
    """``risk <= target_risk with probability >= 1 - delta``, over the draw of the labels that it counts.

    ``errors`` of ``answered`` certification labels at the threshold were wrong, of ``total`` in that split;
    ``bound`` is the exact upper confidence bound of the risk at that threshold by itself, at level 1 - delta
    (Clopper & Pearson 1934). ``fingerprint`` names what the labels were made with: the policy's own, empty where
    the records do not say, None where the certificate does not (it was written before it could).
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
        """Refuse counts or a bound that contradict the claim: a certificate is never false."""
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
        """Plain JSON values."""
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
    """What the gate said of one answer.

    ``decision`` is answer, abstain, rescue or escalate; ``confidence`` and ``threshold`` lie in [0, 1], or
    are None without a policy; ``score`` is the raw reading, None where unmeasured; ``source`` names the
    evidence that was used: logprobs, samples, logprobs+samples, p_true or none; ``detail`` says, for records
    and logs, why an answer is unmeasured.
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
        """Whether a model's answer goes out."""
        return self.decision in ("answer", "rescue", "escalate")


@dataclass(frozen=True, slots=True)
class RiskEstimate:
    """Counts of labelled answers; ratios are computed last."""

    errors: int
    answered: int
    total: int

    def __post_init__(self) -> None:
        """Refuse counts that do not nest."""
        if not 0 <= self.errors <= self.answered <= self.total:
            raise GatingError(
                f"counts do not nest: errors {self.errors}, answered {self.answered}, total {self.total}"
            )

    @property
    def risk(self) -> float | None:
        """Wrong among the answered, or None where nothing was answered."""
        return self.errors / self.answered if self.answered else None

    @property
    def coverage(self) -> float | None:
        """Answered among all, or None where there is nothing."""
        return self.answered / self.total if self.total else None
