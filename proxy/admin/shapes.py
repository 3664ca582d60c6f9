"""What the page's JSON holds. Shares lie in [0, 1]; times are seconds since 1970; unknown is null."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.config.sections import Name  # noqa: TC001 - msgspec reads the annotations when it runs

#: Who did it, for the history.
Who = Annotated[str, Meta(min_length=1, max_length=64)]


# What is asked


class LogIn(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST session``."""

    key: Annotated[str, Meta(min_length=1, max_length=1_000)]


class Apply(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST routes/NAME/threshold``: from the version that was looked at."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)]
    version: int
    who: Who


class RollBack(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST routes/NAME/rollback``: to an older version; ``in_force`` is the one that was looked at."""

    version: int
    in_force: int
    who: Who


class GiveLabel(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST routes/NAME/labels``; None takes the label back."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    choice: Annotated[int, Meta(ge=0, le=127)]
    label: Literal["correct", "incorrect", "abstained"] | None
    who: Who


class MakeKey(Struct, frozen=True, forbid_unknown_fields=True):
    """``POST keys``; without routes it opens all, without a limit it has none."""

    name: Name
    who: Who
    routes: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    requests_per_minute: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1, le=10**12)] | None = None


# What is answered


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
    """One threshold of the risk-coverage curve: estimates, with the labels that they rest on."""

    threshold: float
    coverage: float
    risk: float | None
    #: A 90 % interval of the risk.
    low: float
    high: float
    errors: int
    answered: int
    words: str


class Withheld(Struct, frozen=True, kw_only=True):
    """What abstentions cost and saved, of the labelled answers below the threshold."""

    right: int
    wrong: int
    #: Since these processes began; None where nothing was counted.
    saved_tokens: float | None
    extra_tokens: float | None


class Sample(Struct, frozen=True, kw_only=True):
    """What the curve rests on. ``fresh``: drawn under the version in force, so that it was fitted on none."""

    drawn: int
    labelled: int
    fresh: bool


class Quality(Struct, frozen=True, kw_only=True):
    """Beside the reliability diagram's bins ``(mean confidence, share right, labels)``."""

    bins: list[tuple[float, float, int]]
    n: int
    base_rate: float | None
    auroc: float | None
    brier_skill: float | None
    ece: float | None
    ece_noise: float | None


class Promise(Struct, frozen=True, kw_only=True):
    """A certificate as it stands in the policy in force."""

    target_risk: float
    delta: float
    errors: int
    answered: int
    total: int
    bound: float


class Alarm(Struct, frozen=True, kw_only=True):
    """What the watch over the risk says; ``cause`` is audit, feedback or drift."""

    raised: bool
    cause: str | None
    #: Whether nothing goes out until another version is in force.
    closed: bool
    labels: int
    errors: int
    answered: int
    reported: int
    #: The tightened threshold, where the route's on_alarm makes one.
    threshold: float | None


class Drift(Struct, frozen=True, kw_only=True):
    """The newest confidences against the first ones of the version in force; None with too few."""

    n: int
    ks: float | None
    ks_p: float | None
    psi: float | None
    psi_p: float | None


class Minute(Struct, frozen=True, kw_only=True):
    """How choices ended in one minute, by decision."""

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


class Change(Struct, frozen=True, kw_only=True):
    """One line of the history."""

    version: int
    action: str
    who: str
    at: float
    threshold: float | None
    certified: bool


class Figures(Struct, frozen=True, kw_only=True):
    """``GET routes/NAME``: all of one route."""

    name: str
    mode: str
    at: float
    #: As responses show it, and its number in the store.
    policy: str | None
    version: int | None
    threshold: float | None
    #: Of the policy in force at its threshold, not revoked.
    certified: bool
    certificate: Promise | None
    #: Why the threshold cannot be changed from here; None where it can.
    fixed: str | None
    #: The routes that follow the same policy: a change is theirs too.
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
    """What a change came to."""

    policy: str
    threshold: float | None
    certified: bool
    said: str


class Labelled(Struct, frozen=True, kw_only=True):
    """What a label came to."""

    changed: bool


class ClientKey(Struct, frozen=True, kw_only=True):
    """One key; never what opens. ``source`` says who can change it: the store's alone can be revoked from here."""

    name: str
    source: Literal["file", "store"]
    #: None: all of them.
    routes: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    who: str | None
    at: float | None
    #: As far as replicas have told, each within a minute. None: never, or a key of the file, of which nobody keeps it.
    last_used_at: float | None
    revoked_at: float | None


class ClientKeys(Struct, frozen=True, kw_only=True):
    """``GET keys``; ``required``: whether a request needs one."""

    required: bool
    keys: list[ClientKey]


class MadeKey(Struct, frozen=True, kw_only=True):
    """``POST keys``: ``secret`` is what the client sends, said this once."""

    key: ClientKey
    secret: str
