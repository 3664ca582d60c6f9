"""The gate: decide from the evidence whether an answer is confident enough to be served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Literal

from gating.answers import is_abstention
from gating.fingerprint import is_complete
from gating.policy import Policy, check_threshold
from gating.types import Decision, GatingError, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from gating.scorers import Need, Scorer
    from gating.types import Evidence

#: Reason for an unmeasured answer whose request does not match the policy's fingerprint.
ELSEWHERE = "the request does not match the requests that the policy was fitted on"
OnUnmeasured = Literal["abstain", "answer"]


@dataclass(frozen=True, slots=True)
class Uncalibrated:
    """A gate rule without a policy: the raw score must reach ``score_threshold``; there is no confidence.

    With ``score_threshold`` None the gate only observes: every answer is served, with the reason ``off``. Such
    a gate must not be used in mode ``enforce``.
    """

    scorer: Scorer
    score_threshold: float | None = None

    def __post_init__(self) -> None:
        """Raise GatingError for a threshold of NaN, with which every comparison is false."""
        if self.score_threshold is not None and isnan(self.score_threshold):
            raise GatingError("score_threshold: must be a number, not NaN")

    @property
    def needs(self) -> frozenset[Need]:
        """The kinds of evidence that the scorer reads."""
        return self.scorer.needs


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one route, which decides by a policy or by a raw score.

    ``threshold`` in [0, 1] overrides the policy's; ``on_unmeasured`` is the decision where there is no score.
    """

    rule: Policy | Uncalibrated
    threshold: float | None = None
    on_unmeasured: OnUnmeasured = "abstain"

    def __post_init__(self) -> None:
        """Raise GatingError for an invalid or missing threshold, or an unknown ``on_unmeasured``."""
        if self.on_unmeasured not in ("abstain", "answer"):
            raise GatingError(f"on_unmeasured: must be abstain or answer, not {self.on_unmeasured!r}")
        if self.threshold is not None:
            self._check(self.threshold)
        elif isinstance(self.rule, Policy) and not _thresholds(self.rule):
            raise GatingError(
                f"threshold: the policy {self.rule.name} has none; set a threshold for the route"
            )

    @property
    def needs(self) -> frozenset[Need]:
        """The kinds of evidence to gather for the gate."""
        return self.rule.needs

    @property
    def limit(self) -> float | None:
        """The threshold on the confidence unless a request brings another; None without a policy.

        Where the policy has conditions, each has its own threshold; this is the highest of them.
        """
        if self.threshold is None and isinstance(self.rule, Policy):
            limits = _thresholds(self.rule)
            return max(limits) if limits else None
        return self.threshold

    @property
    def reads_words(self) -> bool:
        """Whether the condition of an answer depends on the words of its question and passages."""
        policy = self.rule
        return (
            isinstance(policy, Policy)
            and policy.conditions is not None
            and policy.conditions.vocabulary is not None
        )

    def limit_for(self, evidence: Evidence) -> float | None:
        """Return the threshold for an answer, which may be that of its condition."""
        if self.threshold is None and isinstance(self.rule, Policy):
            return self.rule.threshold_for(evidence)
        return self.threshold

    def decide(self, evidence: Evidence, *, threshold: float | None = None, applies: bool = True) -> Decision:
        """Decide whether the answer is served.

        ``threshold`` in [0, 1] is the request's own; ``applies`` is False where the request does not match the
        policy's fingerprint (``Policy.matches``). Raises GatingError on a threshold that is not a probability,
        or on a threshold for a gate without a policy.
        """
        if threshold is None:
            threshold = self.limit_for(evidence)
        else:
            self._check(threshold)
        if is_abstention(evidence.answer):
            return Decision("abstain", "upstream_abstained", threshold=threshold)
        if not applies:
            return self._unmeasured(Unmeasured(ELSEWHERE), threshold)
        if isinstance(self.rule, Uncalibrated):
            return self._by_score(self.rule, evidence)
        measured = self.rule.read(evidence)
        if isinstance(measured, Unmeasured):
            return self._unmeasured(measured, threshold)
        passes = threshold is not None and measured.confidence >= threshold
        return _verdict(
            passes, measured.score, self.needs, confidence=measured.confidence, threshold=threshold
        )

    def certified(
        self, threshold: float | None = None, *, applies: bool = True, evidence: Evidence | None = None
    ) -> bool:
        """Return whether the policy's certificate covers a decision at ``threshold`` (None: the gate's).

        A certificate covers only the threshold that was certified, on requests like those of its labels. It
        never covers a policy whose fingerprint lacks the request fields, because such a policy cannot compare
        requests, nor a
        route that serves unmeasured answers, because the certificate counts them as withheld. With
        ``evidence``, the condition of that answer must have a certificate; without (None), every condition of
        the policy must have one.
        """
        policy = self.rule
        if not (
            isinstance(policy, Policy)
            and applies
            and is_complete(policy.fingerprint)
            and self.on_unmeasured == "abstain"
        ):
            return False
        if threshold is None:
            threshold = self.threshold
        if evidence is not None:
            covered = [(policy.certificate_for(evidence), policy.threshold_for(evidence))]
        elif policy.conditions is not None:
            covered = [(one.certificate, one.threshold) for one in policy.conditions.asked.values()]
        else:
            covered = [(policy.certificate, policy.threshold)]
        return all(
            certificate is not None and threshold in (None, certain) for certificate, certain in covered
        )

    def _by_score(self, rule: Uncalibrated, evidence: Evidence) -> Decision:
        score = rule.scorer.score(evidence)
        if isinstance(score, Unmeasured):
            return self._unmeasured(score, None)
        if isnan(score):
            return self._unmeasured(Unmeasured("the score is NaN"), None)
        if rule.score_threshold is None:
            return Decision("answer", "off", score=score, source=source_of(rule.needs))
        return _verdict(score >= rule.score_threshold, score, rule.needs)

    def _unmeasured(self, why: Unmeasured, threshold: float | None) -> Decision:
        return Decision(self.on_unmeasured, "unmeasured", threshold=threshold, detail=why.reason)

    def _check(self, threshold: float) -> None:
        check_threshold(threshold, "threshold")
        if isinstance(self.rule, Uncalibrated):
            raise GatingError("threshold: a threshold on the confidence needs a policy; this gate has none")


def tightened(gate: Gate, threshold: float) -> Gate:
    """Return the gate with every threshold raised to at least ``threshold``.

    A condition without a threshold keeps none, so its answers stay withheld.
    """
    own = None if gate.threshold is None else max(gate.threshold, threshold)
    rule = gate.rule
    if isinstance(rule, Policy) and rule.conditions is not None:
        groups = {
            name: replace(
                group,
                threshold=None if group.threshold is None else max(group.threshold, threshold),
                certificate=None,
            )
            for name, group in rule.conditions.groups.items()
        }
        rule = replace(rule, certificate=None, conditions=replace(rule.conditions, groups=groups))
    elif gate.limit is not None:
        own = max(gate.limit, threshold)
    return replace(gate, rule=rule, threshold=own)


def _thresholds(policy: Policy) -> list[float]:
    """Return the policy's thresholds that are not None: its own, or those of its conditions."""
    if policy.conditions is None:
        return [] if policy.threshold is None else [policy.threshold]
    return [group.threshold for group in policy.conditions.groups.values() if group.threshold is not None]


def source_of(needs: AbstractSet[Need]) -> str:
    """Return the kind of evidence that was used: logprobs, samples, logprobs+samples, p_true or none."""
    words = []
    if needs & {"logprobs", "top_logprobs", "closed_book"}:
        words.append("logprobs")
    if "samples" in needs:
        words.append("samples")
    return "+".join(words) or ("p_true" if "p_true" in needs else "none")


def _verdict(
    passes: bool,
    score: float,
    needs: AbstractSet[Need],
    *,
    confidence: float | None = None,
    threshold: float | None = None,
) -> Decision:
    return Decision(
        "answer" if passes else "abstain",
        "confident" if passes else "below_threshold",
        confidence=confidence,
        threshold=threshold,
        score=score,
        source=source_of(needs),
    )
