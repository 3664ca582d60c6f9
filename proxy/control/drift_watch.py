"""The drift watcher: a test, without labels, of whether a policy's newest confidences differ from its first ones.

Clients' requests determine the confidences, which may change while the answers stay as correct as before. By default
a route therefore only warns about drift; ``on_drift`` makes it revoke its certificate or abstain.

All processes share one count of looks, stored with the risk state. Over all looks at a version together, the
probability of a false alarm is at most DRIFT_DELTA if requests are independent.
"""

from __future__ import annotations

import asyncio
import logging
from time import time
from typing import TYPE_CHECKING

import msgspec

from gating.drift import kolmogorov_smirnov, level_of_look

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.requests.route import Route
    from proxy.storage import RiskState, Store
    from proxy.storage.link import StoreLink

logger = logging.getLogger("idk")

#: The largest number of confidences that are compared: the first of a version with the last.
WINDOW = 500
DRIFT_DELTA = 0.05
#: The least time between two looks, over all processes together.
PACE_S = 50.0
#: The consequence for the log line, by ``on_drift``.
_CONSEQUENCES = {
    "warn": "the answers may be as right as before",
    "revoke": "its certificate is revoked until another version is in force",
    "abstain": "its certificate is revoked, and every answer is withheld until another version is in force",
}


async def first_and_last(
    store: Store, route: str, version: str | None, since: float
) -> tuple[list[float], list[float]]:
    """Return the first and the last confidences of a version (None: of all), at most WINDOW each, without overlap."""
    last = await store.confidences(route, since, 2 * WINDOW, policy=version)  # the newest come first
    if len(last) < 2 * WINDOW:
        return last[len(last) // 2 :], last[: len(last) // 2]
    first = await store.confidences(route, since, WINDOW, policy=version, oldest=True)
    return first, last[:WINDOW]


class DriftWatcher:
    """Compares the confidences of each route's policy, and stores the result for all processes."""

    def __init__(self, link: StoreLink) -> None:
        self._link = link
        self._seen: dict[str, list[float]] = {}

    async def look(self, routes: Iterable[Route]) -> None:
        """Look at every version in force; raises StoreError."""
        for route in routes:
            if route.version is not None:
                await self._look(route, route.version)

    async def _look(self, route: Route, version: str) -> None:
        state = await self._link.do("drift", lambda store: store.risk(route.name))
        if state is None or state.policy != version or state.drifted:
            return
        if 0.0 <= time() - state.looked < PACE_S:  # a clock that was set back must not stop the looks
            return
        since = state.since
        first, last = await self._link.do(
            "drift", lambda store: first_and_last(store, route.name, version, since)
        )
        if last == self._seen.get(route.name):
            return  # a second look at the same data would spend significance level for nothing
        after = await asyncio.to_thread(after_look, state, first, last, time())
        # Where another process has written in the meantime, the next look includes its result.
        if after is not state and await self._link.do("drift", lambda store: store.put_risk(after)):
            self._seen[route.name] = last
            _warn(route, after)


def after_look(before: RiskState, first: list[float], last: list[float], at: float) -> RiskState:
    """Return the state after one more look; ``before`` itself with too few confidences."""
    shift = kolmogorov_smirnov(first, last)
    if shift is None:
        return before
    looks = before.looks + 1
    drifted = shift.p_value < level_of_look(looks, DRIFT_DELTA)
    return msgspec.structs.replace(
        before,
        drift=shift.distance,
        drifted=drifted,
        raised_at=at if drifted and before.raised_at is None else before.raised_at,
        looks=looks,
        looked=at,
        revision=before.revision + 1,
    )


def _warn(route: Route, state: RiskState) -> None:
    if state.drifted:
        logger.warning(
            "%s: the confidences under %s have drifted (Kolmogorov-Smirnov distance %.2f): %s",
            route.name, state.policy, state.drift, _CONSEQUENCES[route.config.on_drift],
        )  # fmt: skip
