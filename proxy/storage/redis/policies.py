"""Policies, risk states and notifications of their changes in Redis."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.exceptions import StoreError, StoreRefused
from proxy.storage.coding import decode, encode
from proxy.storage.redis import scripts
from proxy.storage.types import PolicyChange, RiskState, StoredPolicy

if TYPE_CHECKING:
    from proxy.storage.redis.client import Client

#: Seconds between polls of the revision while no notification arrives.
POLL_S = 0.4


async def push(client: Client, name: str, policy: dict[str, Any], who: str, at: float) -> StoredPolicy:
    version = await client.run(scripts.PUSH, name, encode(policy), who, repr(at))
    return StoredPolicy(name=name, version=version, policy=policy, who=who, at=at, in_force=True)


async def roll_back(client: Client, name: str, version: int | None, who: str, at: float) -> StoredPolicy:
    now = await client.run(scripts.ROLL_BACK, name, "" if version is None else str(version), who, repr(at))
    if now == -1:
        raise StoreRefused(f"there is no policy `{name}` to roll back")
    if now == 0 and version is not None:
        raise StoreRefused(f"there is no {name}@{version}; `idk policy list` names the versions")
    if now == 0:
        raise StoreRefused(f"{name}@1 is the oldest version; there is none to roll back to")
    found = await one(client, name, now)
    if found is None:
        raise StoreError(f"{client.name}: {name}@{now} disappeared while it was read")
    return found


async def one(client: Client, name: str, version: int | None) -> StoredPolicy | None:
    in_force = await _in_force(client, name)
    wanted = in_force if version is None else version
    if wanted is None:
        return None
    kept = await client.do(client.redis.lindex(client.key("policies", name), wanted - 1))
    return None if kept is None else _policy(name, wanted, kept, in_force)


async def _in_force(client: Client, name: str) -> int | None:
    found = await client.do(client.redis.hget(client.key("in_force"), name))
    return None if found is None else int(found)


def _policy(name: str, version: int, kept: bytes, in_force: int | None) -> StoredPolicy:
    policy, who, at = decode(kept, tuple[str, str, str])
    return StoredPolicy(
        name=name,
        version=version,
        policy=decode(policy, dict[str, Any]),
        who=who,
        at=float(at),
        in_force=version == in_force,
    )


async def every(client: Client, name: str | None) -> list[StoredPolicy]:
    in_force = await client.do(client.redis.hgetall(client.key("in_force")))
    found = []
    for each in sorted(key.decode() for key in in_force):
        if name in (None, each):
            kept = await client.do(client.redis.lrange(client.key("policies", each), 0, -1))
            now = int(in_force[each.encode()])
            found += [_policy(each, n, one, now) for n, one in reversed(list(enumerate(kept, start=1)))]
    return found


async def history(client: Client, name: str) -> list[PolicyChange]:
    kept = await client.do(client.redis.lrange(client.key("history", name), 0, -1))
    changes = [decode(each, tuple[int, str, str, str]) for each in kept]
    return [
        PolicyChange(name=name, version=version, action=action, who=who, at=float(at))  # type: ignore[arg-type] # kept so
        for version, action, who, at in changes
    ]


async def risks(client: Client) -> list[RiskState]:
    kept = await client.do(client.redis.hgetall(client.key("risks")))
    alarms = await client.do(client.redis.hgetall(client.key("alarms")))
    return [
        _with_alarm(route.decode(), kept.get(route), alarms.get(route)) for route in sorted(kept | alarms)
    ]


async def risk(client: Client, route: str) -> RiskState | None:
    kept = await client.do(client.redis.hget(client.key("risks"), route))
    alarm = await client.do(client.redis.hget(client.key("alarms"), route))
    return None if kept is None and alarm is None else _with_alarm(route, kept, alarm)


def _with_alarm(route: str, kept: bytes | None, alarm: bytes | None) -> RiskState:
    """Return the risk state; a certificate that was revoked stays so if one of the two records is lost."""
    if alarm is None:
        return decode(kept or b"", RiskState)
    policy, alarmed, drifted = decode(alarm, tuple[str, bool, bool])
    state = RiskState(route=route, policy=policy) if kept is None else decode(kept, RiskState)
    if state.policy != policy:
        return state
    return msgspec.structs.replace(state, alarm=state.alarm or alarmed, drifted=state.drifted or drifted)


async def put_risk(client: Client, state: RiskState) -> bool:
    revoked = state.alarm or state.drifted
    alarm = encode((state.policy, state.alarm, state.drifted)) if revoked else b""
    given = (state.route, str(state.revision), encode(state), alarm)
    return bool(await client.run(scripts.PUT_RISK, *given))


async def revision(client: Client) -> int:
    return int(await client.do(client.redis.get(client.key("revision"))) or 0)


class ChangeListener:
    """Waits for changes by publish/subscribe, and by polling where notifications do not arrive."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._subscription: Any = None

    async def changed(self, seen: int, timeout_s: float) -> int:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while (now := await revision(self._client)) == seen and (left := until - loop.time()) > 0:
            await self._wait(min(POLL_S, left))
        return now

    async def _wait(self, timeout_s: float) -> None:
        try:
            if self._subscription is None:
                subscription = self._client.redis.pubsub(ignore_subscribe_messages=True)
                await self._client.do(subscription.subscribe(self._client.key("changed")))
                self._subscription = subscription
                return  # changes before the subscription are seen by the next poll
            await self._client.do(self._subscription.get_message(timeout=timeout_s))
        except (StoreError, AttributeError):  # older Cluster clients have no publish/subscribe
            await self.aclose()
            await asyncio.sleep(timeout_s)

    async def aclose(self) -> None:
        """End the subscription."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(StoreError):
                await self._client.do(subscription.aclose())
