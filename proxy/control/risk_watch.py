"""The risk watcher: it compares labels from production with the risk that a policy's certificate promises.

*Audit labels* count in the order in which their answers were drawn, up to the first answer without a label. People
may label the least confident answers first, so counting labels in the order of labelling would raise false alarms
too often. An answer that was skipped, with PATIENCE labelled answers after it, counts as right, which can only make
the risk look smaller.

*Feedback* is reported by users, who report wrong answers more often than right ones. Every served answer without a
report counts as right. This can only make the risk look smaller than it is, so an alarm from feedback is as valid as
one from audit labels. Feedback never certifies a policy, and the consequences beyond an alarm (``on_alarm``) follow
audit labels alone: otherwise any client with a key could close a route for all clients.

A single client must not be able to revoke a certificate with a few false reports. Reports therefore count only once
MIN_ANSWERS answers were served, and those of one key are limited in time (KEY_REPORTS_PER_HOUR) and in number
(KEY_SHARE). Reports that do not count make the risk look smaller too, so the alarm stays valid.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
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
#: Feedback raises no alarm before a version has served this many answers.
MIN_ANSWERS = 100
#: Reports of one key that count in one hour.
KEY_REPORTS_PER_HOUR = 10
#: Reports of one key that count in total: at most this multiple of the errors that the target risk allows among all
#: served answers, so that one key alone reaches an alarm only by many reports over many answers.
KEY_SHARE = 2.0
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


class Report(NamedTuple):
    """A user's report of a wrong answer: the name of the key that made it, and its time."""

    key: str
    at: float


def counted_reports(reports: Iterable[Report], answered: int, target_risk: float) -> int:
    """Return the number of reports that count among ``answered`` served answers, within the limits for each key."""
    if answered < MIN_ANSWERS:
        return 0
    by_key: Counter[str] = Counter()
    for (key, _), number in Counter((each.key, int(each.at // 3_600)) for each in reports).items():
        by_key[key] += min(number, KEY_REPORTS_PER_HOUR)
    most = int(KEY_SHARE * target_risk * answered)
    return min(sum(min(number, most) for number in by_key.values()), answered)


def assess(
    before: RiskState,
    target: Target | None,
    seen: Sequence[SampledOutcome],
    tally: PolicyTally,
    at: float,
    reports: Sequence[Report] = (),
) -> RiskState:
    """Return the state after all labels that count; an alarm of ``before`` stays raised.

    ``tally`` holds all reports, which are shown, and ``reports`` those that may count towards an alarm.
    """
    labels = list(_counted(seen, None if target is None else target.threshold))
    wrong = [label == "incorrect" for label in labels]
    after = msgspec.structs.replace(
        before,
        labels=sum(label is not None for label in labels),
        errors=sum(wrong),
        answered=tally.answered,
        reported=tally.reported,
    )
    if target is not None:
        counted = counted_reports(reports, after.answered, target.risk)
        after = _tested(after, target, wrong, counted)
    # Further answers without labels change no alarm: other processes need to hear of labels only.
    if (
        msgspec.structs.replace(after, answered=before.answered, log_e_feedback=before.log_e_feedback)
        == before
    ):
        return before
    raised_at = at if after.alarm and before.raised_at is None else before.raised_at
    return msgspec.structs.replace(after, at=at, raised_at=raised_at, revision=before.revision + 1)


def _tested(state: RiskState, target: Target, wrong: Sequence[bool], reported: int) -> RiskState:
    watch = RiskWatch.of_labels(target.risk, target.delta, wrong)
    threshold = floor = 0.0 if target.threshold is None else target.threshold
    for one in wrong:
        threshold = tightened(threshold, one, target_risk=target.risk, certified=floor)
    volunteered = log_e_of_counts(state.answered, reported, target.risk)
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
    reports = await _reports(store, before) if tally.reported and tally.answered >= MIN_ANSWERS else []
    # Thousands of labels take milliseconds, which must not hold up the event loop.
    return await asyncio.to_thread(assess, before, target, seen, tally, time(), reports)


async def _reports(store: Store, state: RiskState) -> list[Report]:
    """Return the reports of wrong answers that the version served; only the newest thousands are read."""
    return [
        Report(each.label.who, each.label.at)
        for each in await store.labelled(state.route, "feedback")
        if each.label.label == "incorrect"
        and each.decision.policy == state.policy
        and each.decision.by_confidence
    ]
