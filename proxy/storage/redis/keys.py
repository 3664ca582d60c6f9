"""Clients' keys, in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.storage.coding import decode, encode
from proxy.storage.redis import scripts
from proxy.storage.types import StoredKey

if TYPE_CHECKING:
    from proxy.storage.redis.client import Client


async def put(client: Client, key: StoredKey) -> bool:
    return bool(await client.run(scripts.PUT_KEY, key.name, encode(key)))


async def revoke(client: Client, name: str, at: float) -> bool:
    return bool(await client.run(scripts.REVOKE_KEY, name, repr(at)))


async def every(client: Client) -> list[StoredKey]:
    kept = await client.do(client.redis.hgetall(client.key("keys")))
    revoked = await client.do(client.redis.hgetall(client.key("revoked")))
    found = []
    for name in sorted(kept):
        at = revoked.get(name)
        key = decode(kept[name], StoredKey)
        found.append(msgspec.structs.replace(key, revoked_at=None if at is None else float(at)))
    return found
