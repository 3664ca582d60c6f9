"""The risk watcher: it compares labels from production with the risk that a policy's certificate promises.

*Audit labels* count in the order in which their answers were drawn, up to the first answer without a label. People
may label the least confident answers first, so counting labels in the order of labelling would raise false alarms
too often. An answer that was skipped, with PATIENCE labelled answers after it, counts as right, which can only make
the risk look smaller.

*Feedback* is reported by users, who report wrong answers more often than right ones. Every served answer without a
report counts as right. This can only make the risk look smaller than it is, so an alarm from feedback is as valid as
one from audit labels. Feedback never certifies a policy, and the consequences beyond an alarm (``on_alarm``) follow
audit labels alone: otherwise any client with a key could close a route for all clients.
"""

from __future__ import annotations

import asyncio
import logging
import math
from time import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gating.drift import RiskWatch, log_e_of_counts, tightened
from gating.policy import Policy
from proxy.control.policies import Alarm
from proxy.storage import RiskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.metrics import Metrics
    from proxy.requests.route import Route
    from proxy.storage import PolicyTally, SampledOutcome, Store
    from proxy.storage.link import StoreLink
    from proxy.storage.types import LabelName

logger = logging.getLogger("idk")

#: An answer without a label counts as skipped when this many later answers have one.
PATIENCE = 50
#: How often an update is tried again after another process has written the state first.
_TRIES = 5


class Target(NamedTuple):
    """The promise of a certificate: the risk of answers from ``threshold`` on (None: each condition has its own)."""

    risk: float
    delta: float
    threshold: float | None

    @classmethod
    def of(cls, policy: Policy) -> Target | None:
        """Return the policy's target; of several conditions the weakest one, which holds for any mixture of them."""
        if policy.conditions is None:
            made = [policy.certificate]
        else:
            made = [group.certificate for group in policy.conditions.asked.values()]
        known = [one for one in made if one is not None]
        if not known or len(known) < len(made):
            return None
        threshold = policy.threshold if policy.conditions is None else None
        return cls(max(one.target_risk for one in known), min(one.delta for one in known), threshold)


def assess(
    before: RiskState, target: Target | None, seen: Sequence[SampledOutcome], tally: PolicyTally, at: float
) -> RiskState:
    """Return the state after all labels that count; an alarm of ``before`` stays raised."""
    counted = list(_counted(seen, None if target is None else target.threshold))
    wrong = [label == "incorrect" for label in counted]
    after = msgspec.structs.replace(
        before,
        labels=sum(label is not None for label in counted),
        errors=sum(wrong),
        answered=tally.answered,
        reported=tally.reported,
    )
    if target is not None:
        after = _tested(after, target, wrong)
    # Further answers without labels change no alarm: other processes need to hear of labels only.
    if (
        msgspec.structs.replace(after, answered=before.answered, log_e_feedback=before.log_e_feedback)
        == before
    ):
        return before
    raised_at = at if after.alarm and before.raised_at is None else before.raised_at
    return msgspec.structs.replace(after, at=at, raised_at=raised_at, revision=before.revision + 1)


def _tested(state: RiskState, target: Target, wrong: Sequence[bool]) -> RiskState:
    watch = RiskWatch.of_labels(target.risk, target.delta, wrong)
    threshold = floor = 0.0 if target.threshold is None else target.threshold
    for one in wrong:
        threshold = tightened(threshold, one, target_risk=target.risk, certified=floor)
    volunteered = log_e_of_counts(max(state.answered, state.reported), state.reported, target.risk)
    cause = state.cause
    if watch.alarm:
        cause = "audit"
    elif cause is None and volunteered >= -math.log(target.delta):
        cause = "feedback"
    return msgspec.structs.replace(
        state,
        log_e=watch.log_e,
        log_e_feedback=volunteered,
        alarm=state.alarm or cause is not None,
        cause=cause,
        threshold=threshold if target.threshold is not None else None,
    )


def _counted(seen: Sequence[SampledOutcome], threshold: float | None) -> Iterable[LabelName | None]:
    """Yield the labels that count, in the order of the draw; None for a skipped answer."""
    served = [
        item.label
        for item in seen
        if item.decision == "answer"
        and item.confidence is not None
        and (
            threshold is None or item.confidence >= threshold
        )  # else it was served by a request's own threshold
        and item.label != "abstained"  # the model itself declined to answer
    ]
    later = sum(label is not None for label in served)
    for label in served:
        if label is not None:
            later -= 1
        elif later < PATIENCE:
            return
        yield label


class RiskWatcher:
    """Updates the stored risk state of each route, once for all processes, and exports it as metrics."""

    def __init__(self, link: StoreLink, metrics: Metrics) -> None:
        self._link = link
        self._metrics = metrics

    async def look(self, routes: Iterable[Route]) -> None:
        """Update the state of every route that has a policy; raises StoreError."""
        for route in routes:
            if route.gate is not None and isinstance(route.gate.rule, Policy) and route.version is not None:
                state = await self._assessed(route.name, route.version, Target.of(route.gate.rule))
                self._show(state, revoked=Alarm.of(state).revokes(route.config) is not None)

    async def _assessed(self, route: str, version: str, target: Target | None) -> RiskState:
        for _ in range(_TRIES):
            before = await self._link.do("risk", lambda store: _begun(store, route, version))
            after = await self._link.do("risk", lambda store, known=before: _assess(store, known, target))  # type: ignore[misc] # bound now
            if after is before:
                break
            if await self._link.do("risk", lambda store, state=after: store.put_risk(state)):  # type: ignore[misc] # bound now
                if after.cause != before.cause:
                    logger.warning(
                        "%s: labels from %s show that the risk of %s is above its target: its certificate is "
                        "revoked; tune and push another policy",
                        route, after.cause, version,
                    )  # fmt: skip
                return after
        return before

    def _show(self, state: RiskState, *, revoked: bool) -> None:
        self._metrics.alarm.labels(state.route).set(int(revoked))
        if state.risk is not None:
            self._metrics.observed_risk.labels(state.route).set(state.risk)
        if state.drift is not None:
            self._metrics.drift.labels(state.route).set(state.drift)


async def _begun(store: Store, route: str, version: str) -> RiskState:
    """Return the stored state of this version, or create one unless another process has done so first."""
    kept = await store.risk(route)
    if kept is not None and kept.policy == version:
        return kept
    now, revision = time(), 0 if kept is None else kept.revision
    state = RiskState(route=route, policy=version, at=now, since=now, revision=revision + 1)
    await store.put_risk(state)
    return state


async def _assess(store: Store, before: RiskState, target: Target | None) -> RiskState:
    seen = await store.watched(before.route, before.policy)
    tally = await store.tally(before.route, before.policy)
    # Thousands of labels take milliseconds, which must not hold up the event loop.
    return await asyncio.to_thread(assess, before, target, seen, tally, time())
