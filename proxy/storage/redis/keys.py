"""Client keys and ended admin sessions in Redis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from proxy.storage.coding import decode, encode
from proxy.storage.redis import scripts
from proxy.storage.redis.client import BATCH
from proxy.storage.types import StoredKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.storage.redis.client import Client


async def put(client: Client, key: StoredKey) -> bool:
    return bool(await client.run(scripts.PUT_KEY, key.name, encode(key)))


async def revoke(client: Client, name: str, at: float) -> bool:
    kept = await client.do(client.redis.hget(client.key("keys"), name))
    if kept is None:
        return False
    revoked = msgspec.structs.replace(decode(kept, StoredKey), revoked_at=at)
    return bool(await client.run(scripts.REVOKE_KEY, name, repr(at), encode(revoked)))


async def every(client: Client) -> list[StoredKey]:
    kept = await client.do(client.redis.hgetall(client.key("keys")))
    revoked = await client.do(client.redis.hgetall(client.key("revoked")))
    found = []
    for name in sorted(kept):
        at = revoked.get(name)
        key = decode(kept[name], StoredKey)
        found.append(key if at is None else msgspec.structs.replace(key, revoked_at=float(at)))
    return found


async def note_uses(client: Client, uses: Mapping[str, float]) -> None:
    given = [each for name, at in uses.items() for each in (name, repr(at))]
    for start in range(0, len(given), 2 * BATCH):
        await client.run(scripts.NOTE_KEY_USES, *given[start : start + 2 * BATCH])


async def uses(client: Client) -> dict[str, float]:
    found = await client.do(client.redis.hgetall(client.key("used")))
    return {name.decode(): float(at) for name, at in found.items()}


async def end_session(client: Client, session: str, expires: float, at: float) -> None:
    seconds = max(1, math.ceil(expires - at))
    await client.do(client.redis.set(client.key("ended", session), b"1", ex=seconds))


async def session_ended(client: Client, session: str) -> bool:
    return bool(await client.do(client.redis.exists(client.key("ended", session))))
