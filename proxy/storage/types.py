"""The types of stored data. Times are Unix timestamps in seconds; ids are the ``x-request-id`` of the response."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from proxy.records import Answer  # noqa: TC001 - msgspec reads the annotations

LabelName = Literal["correct", "incorrect", "abstained"]
#: ``feedback`` is volunteered and never certifies; ``audit`` is a person's label of a randomly sampled answer;
#: ``judge`` is a model's proposal.
Source = Literal["feedback", "audit", "judge"]


class StoredPolicy(Struct, frozen=True, kw_only=True):
    """One version of a policy; versions count from 1, and ``policy`` is the file that ``idk tune`` wrote."""

    name: str
    version: int
    policy: dict[str, Any]
    who: str
    at: float
    #: Whether routes that name no version use this one.
    in_force: bool = False

    @property
    def label(self) -> str:
        """The name with the version, as in responses and metrics: ``support@3``."""
        return f"{self.name}@{self.version}"


class PolicyChange(Struct, frozen=True, kw_only=True):
    """A version that was put in force, by a push or a rollback."""

    name: str
    version: int
    action: Literal["push", "rollback"]
    who: str
    at: float


class DecisionRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The gate's decision about one choice of a response.

    ``confidence`` and ``threshold`` are in [0, 1] or None; ``score`` is on the scorer's scale or None. ``applies``
    says whether the request matched the policy's fingerprint. Token counts are those of the whole request, None where
    unknown. ``question`` and ``answer`` are only stored with ``server.log_text: true``.
    """

    id: str
    choice: int
    at: float
    route: str
    mode: str
    decision: str
    reason: str
    source: str
    policy: str | None = None
    certified: bool = False
    applies: bool = True
    confidence: float | None = None
    threshold: float | None = None
    score: float | None = None
    detail: str | None = None
    completion_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    extra_calls: int = 0
    extra_tokens: int = 0
    #: The name of the client key that the request was made with; None without keys.
    key: str | None = None
    question: str | None = None
    answer: str | None = None

    @property
    def by_confidence(self) -> bool:
        """Whether the answer was served because its confidence sufficed; certificates cover these answers."""
        return self.decision == "answer" and self.confidence is not None


class Label(Struct, frozen=True, kw_only=True):
    """A label of one choice; a source has at most one label for a choice, and a later one replaces it."""

    id: str
    choice: int
    label: LabelName
    source: Source
    at: float
    who: str = ""


class AuditItem(Struct, frozen=True, kw_only=True):
    """A choice that was sampled at random, regardless of its decision, with the data that labelling needs.

    ``propensity`` in (0, 1] is the sampling probability. ``answer`` is a line of ``records.jsonl`` without its label:
    the question, the answer (withheld ones too), its evidence, and the request parameters. ``place`` is the position
    in the sampling order, set by the store.
    """

    decision: DecisionRecord
    propensity: float
    answer: Answer
    place: int = 0


class Labelled(Struct, frozen=True, kw_only=True):
    """A label and the decision it belongs to."""

    label: Label
    decision: DecisionRecord


class SampledOutcome(Struct, frozen=True, kw_only=True):
    """The parts of an audit item that risk monitoring needs; ``label`` is a person's label or None."""

    decision: str
    confidence: float | None
    label: LabelName | None


class PolicyTally(Struct, frozen=True, kw_only=True):
    """The number of answers that a policy served on a route, and the number reported as wrong."""

    answered: int
    reported: int


class Count(Struct, frozen=True, kw_only=True):
    """The number of choices with one outcome in the time bucket that begins at ``at``."""

    at: float
    route: str
    decision: str
    reason: str
    number: int


#: The source of the labels that refuted a certificate.
Cause = Literal["audit", "feedback"]


class RiskState(Struct, frozen=True, kw_only=True):
    """The state of one route's risk monitoring; its numbers are exact, so all replicas agree.

    ``policy`` is the monitored version; a new version starts with a new state. ``labels`` counts audit labels of
    served answers and ``errors`` the wrong ones; ``log_e`` is the natural logarithm of their e-process. ``answered``,
    ``reported`` and ``log_e_feedback`` are the same for volunteered feedback. ``alarm`` lasts until another version is
    in force. ``threshold`` is a tightened threshold, or None. ``drift`` in [0, 1] is the distance between the newest
    and the first confidences at the last of ``looks`` tests, made at the time ``looked``; ``drifted`` lasts like
    ``alarm``.
    """

    route: str
    policy: str
    labels: int = 0
    errors: int = 0
    log_e: float = 0.0
    answered: int = 0
    reported: int = 0
    log_e_feedback: float = 0.0
    alarm: bool = False
    cause: Cause | None = None
    threshold: float | None = None
    at: float = 0.0
    drift: float | None = None
    drifted: bool = False
    looks: int = 0
    looked: float = 0.0
    #: When the alarm or the drift was first found.
    raised_at: float | None = None
    #: When the monitoring of the version started.
    since: float = 0.0
    #: The number of writes; a write that is not based on the last one is rejected.
    revision: int = 0

    @property
    def risk(self) -> float | None:
        """The share of wrong answers among the labelled ones; None without labels."""
        return self.errors / self.labels if self.labels else None


class DecisionQuery(Struct, frozen=True, kw_only=True):
    """A query for decisions, the newest first; a field that is None matches all.

    ``since`` <= at < ``until``; ``low`` <= confidence < ``high`` (unmeasured decisions match no range).
    """

    route: str | None = None
    since: float | None = None
    until: float | None = None
    low: float | None = None
    high: float | None = None
    decision: str | None = None
    reason: str | None = None
    limit: int = 50
    cursor: str | None = None


class Page(Struct, frozen=True, kw_only=True):
    """One page of decisions and the ``cursor`` of the next page, None on the last page."""

    items: list[DecisionRecord]
    cursor: str | None


class StoredKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client's key, stored as a hash; a revoked key stays stored and grants no access."""

    name: str
    sha256: str
    who: str
    at: float
    routes: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    revoked_at: float | None = None
