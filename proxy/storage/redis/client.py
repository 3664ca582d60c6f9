"""A client of Redis whose every failure is a StoreError, and what the parts of the store need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from proxy.exceptions import StoreError
from proxy.storage.coding import read_decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from proxy.storage.sealing import Sealer
    from proxy.storage.types import DecisionRecord

Found = TypeVar("Found")

#: How many members are looked at in one step of a long reading.
CHUNK = 500
#: How many go into one run of a script, which holds every other client up.
AT_ONCE = 100


#: What a client raises; a Cluster's own error is none of RedisError's kinds, and without any node it indexes
#: an empty list. A connection that is lost while it is being opened has no writer any more (AttributeError), or
#: one that uvloop has closed (RuntimeError).
_FAILURES = (RedisError, RedisClusterException, OSError, IndexError, AttributeError, RuntimeError)


class Client:
    """``redis`` is any of redis-py's clients; ``prefix`` begins every key."""

    def __init__(self, redis: Any, prefix: str, name: str, sealer: Sealer) -> None:
        self.redis = redis
        self.name = name
        self.sealer = sealer
        self._prefix = f"{{{prefix}}}:"

    def key(self, *parts: str) -> str:
        """The key of these parts."""
        return self._prefix + ":".join(parts)

    async def do(self, call: Awaitable[Found]) -> Found:
        """What Redis answers; raises StoreError."""
        try:
            return await call
        except _FAILURES as exc:
            reason = str(exc) or type(exc).__name__
            raise StoreError(f"{self.name}: {reason}") from exc

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run a script; with its text, which costs less than asking whether Redis still knows it."""
        return await self.do(self.redis.eval(script, 1, self.key("revision"), *arguments))

    async def fields(self, key: str, names: Sequence[Any]) -> list[bytes | None]:
        """Some fields of a hash."""
        return list(await self.do(self.redis.hmget(self.key(key), list(names)))) if names else []

    async def records(self, members: Sequence[bytes]) -> list[DecisionRecord]:
        """The decisions of these members; those that were forgotten meanwhile are left out."""
        bodies = await self.fields("decisions", members)
        texts = await self.fields("texts", members)
        return [
            read_decision(body, text, self.sealer)
            for body, text in zip(bodies, texts, strict=True)
            if body is not None
        ]


def member(id: str, choice: int) -> str:  # noqa: A002 - the contract's own word
    """A choice's name in the sets."""
    return f"{id}:{choice}"
