"""Refusal of Redis servers that may evict stored data."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError

from proxy.exceptions import StoreError

if TYPE_CHECKING:
    from proxy.storage.redis.client import Client

logger = logging.getLogger("idk")


async def check_eviction(client: Client) -> None:
    """Raise StoreError where the server may evict any key: an evicted revocation would be undone.

    Policies that evict keys with a time to live only are accepted; the store gives one to rate limits alone.
    """
    try:
        info = await client.do(client.redis.info("memory"))
    except StoreError as exc:
        if isinstance(exc.__cause__, NoPermissionError):
            logger.warning("%s: INFO is not permitted, so the eviction policy is unknown", client.name)
            return
        raise
    # A Cluster's client returns one answer for each node.
    nodes = [info] if "used_memory" in info else list(info.values())
    for node in nodes:
        policy = str(node.get("maxmemory_policy", ""))
        if policy.startswith("allkeys"):
            raise StoreError(
                f"{client.name}: maxmemory-policy is {policy}, which may evict revoked keys and certificates; "
                "set it to noeviction"
            )
