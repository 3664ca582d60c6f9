"""The shared store: Redis alone, behind Sentinel, or as a Cluster."""

from proxy.storage.redis.connect import CONNECTIONS
from proxy.storage.redis.store import RedisStore

__all__ = ["CONNECTIONS", "RedisStore"]
