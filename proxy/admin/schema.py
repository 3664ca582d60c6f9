"""The JSON of the admin API. Shares lie in [0, 1], times are Unix times in seconds, unknown values are null."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.config.sections import Name  # noqa: TC001 - msgspec reads the annotations when it runs

#: The name of the person who makes a change, for the history.
Who = Annotated[str, Meta(min_length=1, max_length=64)]


# Requests


class LogIn(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST session``: log in with the admin key."""

    key: Annotated[str, Meta(min_length=1, max_length=1_000)]


class Apply(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST routes/NAME/threshold``: change the threshold of ``version``, if that is still in force."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)]
    version: int
    who: Who


class RollBack(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST routes/NAME/rollback``: go back to ``version``, if ``in_force`` is still in force."""

    version: int
    in_force: int
    who: Who


class GiveLabel(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST routes/NAME/labels``: label an answer; None removes the label."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    choice: Annotated[int, Meta(ge=0, le=127)]
    label: Literal["correct", "incorrect", "abstained"] | None
    who: Who


class MakeKey(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST keys``: create a client key, for all routes where none are named."""

    name: Name
    who: Who
    routes: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    requests_per_minute: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1, le=10**12)] | None = None


# Responses


class Summary(Struct, frozen=True, kw_only=True):
    """One route in ``GET routes``."""

    name: str
    mode: str
    policy: str | None
    certified: bool
    alarm: bool
    #: Choices of the last hour by decision.
    hour: dict[str, int]


class Point(Struct, frozen=True, kw_only=True):
    """One threshold of the risk-coverage curve: estimates, with the counts of labels that they are made from."""

    threshold: float
    coverage: float
    risk: float | None
    #: The bounds of the 90 % interval of the risk.
    low: float
    high: float
    errors: int
    answered: int
    words: str


class Withheld(Struct, frozen=True, kw_only=True):
    """The labelled answers below the threshold, and the tokens that abstentions saved and further calls cost."""

    right: int
    wrong: int
    #: Since the processes started; None where nothing was counted.
    saved_tokens: float | None
    extra_tokens: float | None


class Sample(Struct, frozen=True, kw_only=True):
    """The sample behind the curve; ``fresh``: drawn under the version in force, so not part of its fit."""

    drawn: int
    labelled: int
    fresh: bool


class Quality(Struct, frozen=True, kw_only=True):
    """Quality of the confidence; ``bins`` are ``(mean confidence, share right, labels)`` of the reliability diagram."""

    bins: list[tuple[float, float, int]]
    n: int
    base_rate: float | None
    auroc: float | None
    brier_skill: float | None
    ece: float | None
    ece_noise: float | None


class Promise(Struct, frozen=True, kw_only=True):
    """The certificate of the policy in force."""

    target_risk: float
    delta: float
    errors: int
    answered: int
    total: int
    bound: float


class Alarm(Struct, frozen=True, kw_only=True):
    """The finding of the risk and drift watchers; ``cause`` is audit, feedback or drift."""

    raised: bool
    cause: str | None
    #: When the alarm was raised; None without an alarm, or where an older version did not record it.
    at: float | None
    #: Whether every answer is withheld until another version is in force.
    closed: bool
    labels: int
    errors: int
    answered: int
    reported: int
    #: The tightened threshold, under ``on_alarm: tighten``.
    threshold: float | None


class Drift(Struct, frozen=True, kw_only=True):
    """The newest confidences compared with the first ones of the version in force; None with too few."""

    n: int
    ks: float | None
    ks_p: float | None
    psi: float | None
    psi_p: float | None


class Minute(Struct, frozen=True, kw_only=True):
    """The number of choices of one minute, by decision."""

    at: float
    decisions: dict[str, int]


class Item(Struct, frozen=True, kw_only=True):
    """A question with its answer (None where texts are not kept)."""

    id: str
    choice: int
    at: float
    decision: str
    reason: str
    confidence: float | None
    question: str | None
    answer: str | None


class LogEntry(Struct, frozen=True, kw_only=True):
    """One decision in the request log, with its texts where they are stored."""

    id: str
    choice: int
    at: float
    mode: str
    decision: str
    reason: str
    #: Why an answer is unmeasured, in a sentence.
    detail: str | None
    confidence: float | None
    threshold: float | None
    policy: str | None
    certified: bool
    #: The name of the client key; None without keys.
    key: str | None
    #: Token counts of the whole request, at its first choice.
    prompt_tokens: int | None
    completion_tokens: int | None
    extra_calls: int
    question: str | None
    answer: str | None


class Log(Struct, frozen=True, kw_only=True):
    """``GET routes/NAME/log``: decisions, the newest first, and the cursor of the next page (None on the last)."""

    items: list[LogEntry]
    cursor: str | None


class Change(Struct, frozen=True, kw_only=True):
    """One line of the history."""

    version: int
    action: str
    who: str
    at: float
    threshold: float | None
    certified: bool


class Figures(Struct, frozen=True, kw_only=True):
    """``GET routes/NAME``: everything that the page shows of one route."""

    name: str
    mode: str
    at: float
    #: The policy's name as responses show it, and the number of its version in the store.
    policy: str | None
    version: int | None
    threshold: float | None
    #: Whether the policy in force is certified at its threshold and not revoked.
    certified: bool
    certificate: Promise | None
    #: The reason why the page cannot change the threshold; None where it can.
    fixed: str | None
    #: The routes that use the same policy, so that a change applies to them too.
    sharing: list[str]
    sample: Sample
    curve: list[Point]
    quality: Quality
    withheld: Withheld
    hour: list[Minute]
    alarm: Alarm | None
    drift: Drift
    history: list[Change]


class Done(Struct, frozen=True, kw_only=True):
    """The policy in force after a change; ``said`` is the message for the page."""

    policy: str
    threshold: float | None
    certified: bool
    said: str


class Labelled(Struct, frozen=True, kw_only=True):
    """Whether a label changed anything."""

    changed: bool


class ClientKey(Struct, frozen=True, kw_only=True):
    """A client key without its secret; only keys whose ``source`` is the store can be revoked on the page."""

    name: str
    source: Literal["file", "store"]
    #: The routes that the key may use; None for all.
    routes: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    who: str | None
    at: float | None
    #: The last use that replicas reported, within a minute; None: never, or a key of the file, whose use is not kept.
    last_used_at: float | None
    revoked_at: float | None


class ClientKeys(Struct, frozen=True, kw_only=True):
    """``GET keys``; ``required`` says whether requests need a key."""

    required: bool
    keys: list[ClientKey]


class MadeKey(Struct, frozen=True, kw_only=True):
    """``POST keys``: the new key with the ``secret`` that clients send, which is shown only once."""

    key: ClientKey
    secret: str
