"""The figures of one route, from the store and from the policy in force."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gating import Policy
from gating.drift import kolmogorov_smirnov, population_stability
from gating.types import Unmeasured
from proxy.admin.estimates import Seen, estimated
from proxy.admin.schema import (
    Alarm,
    Change,
    Drift,
    Figures,
    Item,
    Minute,
    Promise,
    Sample,
    Summary,
    Withheld,
)
from proxy.control import policies
from proxy.control.drift_watch import first_and_last

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.metrics import Metrics
    from proxy.requests.route import Route
    from proxy.storage import (
        AuditItem,
        Count,
        DecisionRecord,
        Label,
        PolicyChange,
        RiskState,
        SampledOutcome,
        Store,
        StoredPolicy,
    )

HOUR_S = 3_600.0
MINUTE_S = 60.0
#: With this many labels under the version in force, the curve is made from them alone.
FRESH = 30
#: With fewer, this many items of the whole sample are scored again by the policy in force.
_READ = 2_000


class Stored(NamedTuple):
    """Everything that is read from the store for one route."""

    watched: list[SampledOutcome]
    audit: list[tuple[AuditItem, Label | None]]
    counts: list[Count]
    risk: RiskState | None
    first_and_last: tuple[list[float], list[float]]
    history: list[PolicyChange]
    versions: list[StoredPolicy]


async def read(store: Store, route: Route, now: float) -> Stored:
    """Read everything of a route; raises StoreError."""
    version, name = route.version or "", name_of(route)
    watched = await store.watched(route.name, version) if route.version else []
    fresh = sum(one.label is not None for one in watched) >= FRESH
    return Stored(
        watched=watched,
        audit=[] if fresh else await store.audit(route.name, limit=_READ),
        counts=[each for each in await store.counts(now - HOUR_S, MINUTE_S) if each.route == route.name],
        risk=await store.risk(route.name),
        first_and_last=await first_and_last(store, route.name, route.version, 0.0),
        history=[] if name is None else await store.history(name),
        versions=[] if name is None else await store.policies(name),
    )


async def figures(
    store: Store, route: Route, routes: Iterable[Route], metrics: Metrics, now: float
) -> Figures:
    """Return the figures of a route, computed in a thread; raises StoreError."""
    stored = await read(store, route, now)
    sharing = [each.name for each in routes if name_of(each) == name_of(route) is not None]
    return await asyncio.to_thread(_figures, route, sharing, stored, metrics, now)


def _figures(route: Route, sharing: list[str], stored: Stored, metrics: Metrics, now: float) -> Figures:
    limit = None if route.gate is None or policy_of(route) is None else route.gate.limit
    fresh = not stored.audit and bool(stored.watched)
    seen = _fresh(stored.watched) if fresh else _scored_again(stored.audit, route)
    promise = _promise(route)
    certified = promise.target_risk if promise is not None and route.certified else None
    estimates, curve = estimated(tuple(seen), limit, certified)
    right, wrong = estimates.withheld(limit)
    return Figures(
        name=route.name,
        mode=route.config.mode,
        at=now,
        policy=route.policy,
        version=version_of(route),
        threshold=limit,
        certified=certified is not None,
        certificate=promise,
        fixed=why_fixed(route),
        sharing=sharing,
        sample=Sample(drawn=len(seen), labelled=sum(one.label is not None for one in seen), fresh=fresh),
        curve=curve,
        quality=estimates.quality(),
        withheld=Withheld(
            right=right,
            wrong=wrong,
            saved_tokens=metrics.counted("idk_saved_tokens_total", route=route.name),
            extra_tokens=metrics.counted("idk_extra_tokens_total", route=route.name),
        ),
        hour=_minutes(stored.counts),
        alarm=_alarm(route, stored.risk),
        drift=_drift(*stored.first_and_last),
        history=_history(stored.history, stored.versions),
    )


def policy_of(route: Route) -> Policy | None:
    """Return the policy that judges the route, if it has one."""
    return route.gate.rule if route.gate is not None and isinstance(route.gate.rule, Policy) else None


def name_of(route: Route) -> str | None:
    """Return the name of the route's policy in the store; None where it has none there."""
    named = None if route.config.policy is None else policies.PolicyName.parse(route.config.policy)
    return None if named is None else named.name


def version_of(route: Route) -> int | None:
    """Return the number of the version in force, of a policy in the store."""
    named = None if route.version is None else policies.PolicyName.parse(route.version)
    return None if named is None else named.version


def why_fixed(route: Route) -> str | None:
    """Return why the page cannot change the route's threshold; None where it can."""
    config, policy = route.config, policy_of(route)
    if config.policy is None or policy is None:
        return "The route has no policy: label answers, then run `idk label export`, `idk tune`, `idk policy push`."
    named = policies.PolicyName.parse(config.policy)
    if named is None:
        return (
            "The route's policy is a file. To change it here, push it to the store and name it in the route."
        )
    if named.version is not None:
        return f"The route is pinned to {config.policy} in idk.yaml."
    if config.threshold is not None:
        return "The route's threshold is set in idk.yaml, which overrides the policy's."
    if policy.conditions is not None:
        return "The policy has a threshold for each condition, so it cannot be changed here: tune it again."
    return None


def _fresh(watched: Sequence[SampledOutcome]) -> list[Seen]:
    return [Seen(one.confidence, one.label) for one in watched]


def _scored_again(audit: Sequence[tuple[AuditItem, Label | None]], route: Route) -> list[Seen]:
    """Score the sample of earlier versions by the policy in force; without a policy there are no confidences."""
    policy = policy_of(route)
    seen = []
    for item, label in audit:
        confidence = item.decision.confidence
        if policy is None:
            confidence = None
        elif item.decision.policy != route.version:
            found = policy.confidence(item.answer.evidence())
            confidence = None if isinstance(found, Unmeasured) else found
        seen.append(Seen(confidence, None if label is None else label.label))
    return seen


def _promise(route: Route) -> Promise | None:
    policy = policy_of(route)
    found = None if policy is None else policy.certificate
    if found is None:
        return None
    return Promise(
        target_risk=found.target_risk,
        delta=found.delta,
        errors=found.errors,
        answered=found.answered,
        total=found.total,
        bound=found.bound,
    )


def _minutes(counts: Iterable[Count]) -> list[Minute]:
    minutes: dict[float, dict[str, int]] = {}
    for each in counts:
        ended = minutes.setdefault(each.at, {})
        ended[each.decision] = ended.get(each.decision, 0) + each.number
    return [Minute(at=at, decisions=ended) for at, ended in sorted(minutes.items())]


def _alarm(route: Route, risk: RiskState | None) -> Alarm | None:
    if risk is None or risk.policy != route.version:
        return None
    alarm = policies.Alarm.of(risk)
    cause = alarm.revokes(route.config)
    return Alarm(
        raised=cause is not None,
        cause=cause,
        at=None if cause is None else risk.raised_at,
        closed=alarm.closes(route.config),
        labels=risk.labels,
        errors=risk.errors,
        answered=risk.answered,
        reported=risk.reported,
        threshold=alarm.tightens(route.config),
    )


def _drift(first: list[float], last: list[float]) -> Drift:
    ks, psi = kolmogorov_smirnov(first, last), population_stability(first, last)
    return Drift(
        n=len(last),
        ks=None if ks is None else ks.distance,
        ks_p=None if ks is None else ks.p_value,
        psi=None if psi is None else psi.distance,
        psi_p=None if psi is None else psi.p_value,
    )


def _history(changes: Iterable[PolicyChange], versions: Iterable[StoredPolicy]) -> list[Change]:
    by_version = {each.version: each.policy for each in versions}
    return [
        Change(
            version=each.version,
            action=each.action,
            who=each.who,
            at=each.at,
            threshold=by_version.get(each.version, {}).get("threshold"),
            certified=by_version.get(each.version, {}).get("certificate") is not None,
        )
        for each in changes
    ]


def summary(route: Route, alarmed: bool, counts: Iterable[Count]) -> Summary:
    """Return the line of a route in the list of routes."""
    hour: dict[str, int] = {}
    for each in counts:
        if each.route == route.name:
            hour[each.decision] = hour.get(each.decision, 0) + each.number
    return Summary(
        name=route.name,
        mode=route.config.mode,
        policy=route.policy,
        certified=route.certified,
        alarm=alarmed,
        hour=hour,
    )


def item_of(decision: DecisionRecord, audit: AuditItem | None = None) -> Item:
    """Return a decision with its texts, where they are kept."""
    return Item(
        id=decision.id,
        choice=decision.choice,
        at=decision.at,
        decision=decision.decision,
        reason=decision.reason,
        confidence=decision.confidence,
        question=decision.question if audit is None else audit.answer.question,
        answer=decision.answer if audit is None else audit.answer.answer,
    )
