"""A Redis client that raises StoreError for every failure, with helpers for the modules of the Redis store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from proxy.exceptions import StoreError
from proxy.storage.coding import decode_decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from proxy.storage.sealing import Sealer
    from proxy.storage.types import DecisionRecord

Found = TypeVar("Found")

#: The number of members that are read in one step of a long scan.
CHUNK = 500
#: The number of records in one run of a script, which blocks all other clients of the server.
BATCH = 100

#: Exceptions of redis-py's clients. The Cluster client's error is not a RedisError, and without nodes it indexes an
#: empty list (IndexError). A connection lost while it is opened has no writer (AttributeError), or one that uvloop
#: closed (RuntimeError).
_FAILURES = (RedisError, RedisClusterException, OSError, IndexError, AttributeError, RuntimeError)


class Client:
    """A wrapper of any redis-py client; ``prefix`` is the start of every key."""

    def __init__(self, redis: Any, prefix: str, name: str, sealer: Sealer) -> None:
        self.redis = redis
        self.name = name
        self.sealer = sealer
        self._prefix = f"{{{prefix}}}:"

    def key(self, *parts: str) -> str:
        """Return the Redis key for ``parts``."""
        return self._prefix + ":".join(parts)

    async def do(self, call: Awaitable[Found]) -> Found:
        """Return the result of a Redis call; raises StoreError."""
        try:
            return await call
        except _FAILURES as exc:
            reason = str(exc) or type(exc).__name__
            raise StoreError(f"{self.name}: {reason}") from exc

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run a script by its text, which costs less than asking whether Redis has it cached."""
        return await self.do(self.redis.eval(script, 1, self.key("revision"), *arguments))

    async def fields(self, key: str, names: Sequence[Any]) -> list[bytes | None]:
        """Return the values of some fields of a hash, None for missing ones."""
        return list(await self.do(self.redis.hmget(self.key(key), list(names)))) if names else []

    async def records(self, members: Sequence[bytes]) -> list[DecisionRecord]:
        """Return the decisions of ``members``; decisions deleted by now are left out."""
        bodies = await self.fields("decisions", members)
        texts = await self.fields("texts", members)
        return [
            decode_decision(body, text, self.sealer)
            for body, text in zip(bodies, texts, strict=True)
            if body is not None
        ]


def member(id: str, choice: int) -> str:  # noqa: A002 - the contract's own word
    """Return the name of a choice in hashes and sorted sets."""
    return f"{id}:{choice}"
