"""A store in Redis: a single server, Sentinel, or Cluster; shared by replicas."""

from proxy.storage.redis.connect import CONNECTIONS
from proxy.storage.redis.store import RedisStore

__all__ = ["CONNECTIONS", "RedisStore"]
