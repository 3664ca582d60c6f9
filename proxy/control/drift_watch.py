"""Drift without labels: are the newest confidences of a policy's version drawn as its first ones were?

Whoever sends requests moves confidences, and they may move while answers stay as right as before. So a route warns of
it; one that would rather not answer than answer what its certificate was not made for says ``on_drift``.

All processes share the looks, kept with the state of the risk: however many they are, the chance that one of all looks
at a version finds drift where there is none stays at most DRIFT_DELTA, if requests are independent of one another.
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

#: How many confidences are after_look at the most: the first of a version with the last.
WINDOW = 500
DRIFT_DELTA = 0.05
#: Between two looks of all processes together, in seconds.
PACE_S = 50.0
#: What follows, in words.
_FOLLOWS = {
    "warn": "the answers may be as right as before",
    "revoke": "its certificate is revoked until another version is in force",
    "abstain": "its certificate is revoked, and nothing goes out until another version is in force",
}


async def first_and_last(
    store: Store, route: str, version: str | None, since: float
) -> tuple[list[float], list[float]]:
    """The first confidences of a version (None: of any) and the last ones, at most WINDOW of each, none in both."""
    last = await store.confidences(route, since, 2 * WINDOW, policy=version)  # the newest come first
    if len(last) < 2 * WINDOW:
        return last[len(last) // 2 :], last[: len(last) // 2]
    first = await store.confidences(route, since, WINDOW, policy=version, oldest=True)
    return first, last[:WINDOW]


class DriftWatcher:
    """Looks for it, and keeps what was found where all processes see it."""

    def __init__(self, link: StoreLink) -> None:
        self._link = link
        self._seen: dict[str, list[float]] = {}

    async def look(self, routes: Iterable[Route]) -> None:
        """Compare the first_and_last of every version in force; raises StoreError."""
        for route in routes:
            if route.version is not None:
                await self._look(route, route.version)

    async def _look(self, route: Route, version: str) -> None:
        state = await self._link.do("drift", lambda store: store.risk(route.name))
        if state is None or state.policy != version or state.drifted:
            return
        if 0.0 <= time() - state.looked < PACE_S:  # a clock that was set back stops no looks
            return
        since = state.since
        first, last = await self._link.do(
            "drift", lambda store: first_and_last(store, route.name, version, since)
        )
        if last == self._seen.get(route.name):
            return  # a look at what was seen before would only spend its level
        after = await asyncio.to_thread(after_look, state, first, last, time())
        # Where another process wrote meanwhile, the next look has what it found.
        if after is not state and await self._link.do("drift", lambda store: store.put_risk(after)):
            self._seen[route.name] = last
            _tell(route, after)


def after_look(before: RiskState, first: list[float], last: list[float], at: float) -> RiskState:
    """The state after one more look; ``before`` itself where there are too few to compare."""
    shift = kolmogorov_smirnov(first, last)
    if shift is None:
        return before
    looks = before.looks + 1
    return msgspec.structs.replace(
        before,
        drift=shift.distance,
        drifted=shift.p_value < level_of_look(looks, DRIFT_DELTA),
        looks=looks,
        looked=at,
        revision=before.revision + 1,
    )


def _tell(route: Route, state: RiskState) -> None:
    if state.drifted:
        logger.warning(
            "%s: the confidences under %s have moved (%.2f apart): %s",
            route.name, state.policy, state.drift, _FOLLOWS[route.config.on_drift],
        )  # fmt: skip
