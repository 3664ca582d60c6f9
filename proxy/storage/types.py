"""What a store keeps; times are seconds since 1970 (UTC), ids are the ``x-request-id`` of the response."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from proxy.records import Answer  # noqa: TC001 - msgspec reads the annotations

LabelName = Literal["correct", "incorrect", "abstained"]
#: ``feedback`` is volunteered and never certifies; ``audit`` is a person's word on a randomly drawn answer;
#: ``judge`` is a model's proposal.
Source = Literal["feedback", "audit", "judge"]


class StoredPolicy(Struct, frozen=True, kw_only=True):
    """One version of a policy: versions of a name count from 1; ``policy`` is what ``idk tune`` wrote."""

    name: str
    version: int
    policy: dict[str, Any]
    who: str
    at: float
    #: Whether it is the version that routes get when they name none.
    in_force: bool = False

    @property
    def label(self) -> str:
        """As responses and metrics show it: ``support@3``."""
        return f"{self.name}@{self.version}"


class PolicyChange(Struct, frozen=True, kw_only=True):
    """One line of a policy's history."""

    name: str
    version: int
    action: Literal["push", "rollback"]
    who: str
    at: float


class DecisionRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the gate said of one choice.

    ``confidence`` and ``threshold`` in [0, 1] or None, ``score`` on the scorers' own scale or None;
    ``applies``: whether the request matched the policy's fingerprint. Tokens are the whole request's, None
    where unknown. ``question`` and ``answer`` are kept with ``server.log_text`` alone.
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
    question: str | None = None
    answer: str | None = None

    @property
    def by_confidence(self) -> bool:
        """Whether the answer went out because its confidence was enough: what a certificate speaks of."""
        return self.decision == "answer" and self.confidence is not None


class Label(Struct, frozen=True, kw_only=True):
    """One word on one choice; a source has one label for a choice, and a later one takes its place."""

    id: str
    choice: int
    label: LabelName
    source: Source
    at: float
    who: str = ""


class AuditItem(Struct, frozen=True, kw_only=True):
    """A choice that was drawn at random, whatever the gate said: its decision, and all that labelling needs.

    ``propensity`` in (0, 1] is the share it was drawn with; ``answer`` is a line of ``records.jsonl`` without
    its label: the question, the answer (a withheld one too), its evidence, and what it was made with.
    ``place`` counts a route's items in the order in which they were drawn; the store sets it.
    """

    decision: DecisionRecord
    propensity: float
    answer: Answer
    place: int = 0


class Labelled(Struct, frozen=True, kw_only=True):
    """A label and the decision that it judges."""

    label: Label
    decision: DecisionRecord


class Watched(Struct, frozen=True, kw_only=True):
    """One audit item as the watch over a route's risk sees it; ``label`` is a person's, or None."""

    decision: str
    confidence: float | None
    label: LabelName | None


class Tally(Struct, frozen=True, kw_only=True):
    """Choices that a policy let out on a route by their confidence, and how many were reported as wrong."""

    answered: int
    reported: int


class Count(Struct, frozen=True, kw_only=True):
    """How many choices ended one way in one stretch of time, which begins at ``at``."""

    at: float
    route: str
    decision: str
    reason: str
    number: int


#: Whose labels have refuted a certificate.
Cause = Literal["audit", "feedback"]


class RiskState(Struct, frozen=True, kw_only=True):
    """What the watch over one route's risk knows; exact, so that all replicas say the same.

    ``policy`` is the version watched: a new one begins anew. ``labels`` audit labels of served answers, of
    which ``errors`` were wrong, with the e-process's natural logarithm ``log_e``; the same for what was
    volunteered: ``answered`` and ``reported``. ``alarm`` holds until another version is in force.
    ``threshold`` is the tightened one, None where it is the policy's own. ``drift`` is how far the newest confidences
    lie from the first ones, in [0, 1], at the last of so many ``looks``, at the time ``looked``; ``drifted`` holds like
    an alarm.
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
    #: When the version was first watched.
    since: float = 0.0
    #: Counts the writes: a write that was not made from the last one is refused.
    revision: int = 0

    @property
    def risk(self) -> float | None:
        """Wrong among the labelled served answers; None where there are none."""
        return self.errors / self.labels if self.labels else None


class DecisionQuery(Struct, frozen=True, kw_only=True):
    """Which decisions, the newest first; what is None asks for any.

    ``since`` <= at < ``until``; ``low`` <= confidence < ``high`` (the unmeasured are in no range).
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
    """Some decisions, and the ``cursor`` of the next ones (None: these are the last)."""

    items: list[DecisionRecord]
    cursor: str | None


class StoredKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client's key, known by its hash alone; one that was revoked stays on record and opens nothing."""

    name: str
    sha256: str
    who: str
    at: float
    routes: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    revoked_at: float | None = None
