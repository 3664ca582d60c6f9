"""The store in Redis, for several replicas.

Writes are as durable as Redis makes them. With ``appendonly yes`` and ``appendfsync always``, a killed server loses no
acknowledged write. With ``everysec`` it loses up to two seconds, because Redis acknowledges writes while an earlier
fsync is running. Without ``appendonly`` it loses all writes since the last snapshot. A failover may lose writes that
had not reached the replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.storage.redis import decisions, keys, labels, policies, scripts
from proxy.storage.redis.client import Client
from proxy.storage.redis.eviction import check_eviction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.storage.redis.connect import Opened
    from proxy.storage.sealing import Sealer
    from proxy.storage.types import (
        AuditItem,
        Count,
        DecisionQuery,
        DecisionRecord,
        Label,
        Labelled,
        Page,
        PolicyChange,
        PolicyTally,
        RiskState,
        SampledOutcome,
        Source,
        StoredKey,
        StoredPolicy,
    )


class RedisStore:
    """A ``Store`` in Redis. Every key begins with ``prefix``, so one server can hold several stores."""

    def __init__(self, opened: Opened, prefix: str, name: str, sealer: Sealer) -> None:
        self.name = name
        self._opened = opened
        self._client = Client(opened.redis, prefix, name, sealer)
        self._listener = policies.ChangeListener(self._client)

    async def open(self) -> None:
        await check_eviction(self._client)
        await policies.revision(self._client)

    async def aclose(self) -> None:
        await self._listener.aclose()
        await self._client.do(self._opened.aclose())

    async def revision(self) -> int:
        return await policies.revision(self._client)

    async def changed(self, seen: int, timeout_s: float) -> int:
        return await self._listener.changed(seen, timeout_s)

    async def push_policy(self, name: str, policy: dict[str, Any], who: str, at: float) -> StoredPolicy:
        return await policies.push(self._client, name, policy, who, at)

    async def roll_back(self, name: str, version: int | None, who: str, at: float) -> StoredPolicy:
        return await policies.roll_back(self._client, name, version, who, at)

    async def policy(self, name: str, version: int | None = None) -> StoredPolicy | None:
        return await policies.one(self._client, name, version)

    async def policies(self, name: str | None = None) -> list[StoredPolicy]:
        return await policies.every(self._client, name)

    async def history(self, name: str) -> list[PolicyChange]:
        return await policies.history(self._client, name)

    async def add_decisions(self, records: Sequence[DecisionRecord], audit: Sequence[AuditItem]) -> None:
        await decisions.add(self._client, records, audit)

    async def decision(self, id: str) -> list[DecisionRecord]:  # noqa: A002
        return await decisions.of_request(self._client, id)

    async def decisions(self, query: DecisionQuery) -> Page:
        return await decisions.page(self._client, query)

    async def nearest(self, route: str, confidence: float, limit: int) -> list[DecisionRecord]:
        return await decisions.nearest(self._client, route, confidence, limit)

    async def counts(self, since: float, bucket_s: float) -> list[Count]:
        return await decisions.counts(self._client, since, bucket_s)

    async def confidences(
        self, route: str, since: float, limit: int, *, policy: str | None = None, oldest: bool = False
    ) -> list[float]:
        return await decisions.confidences(self._client, route, since, limit, policy, oldest)

    async def tally(self, route: str, policy: str) -> PolicyTally:
        return await decisions.tally(self._client, route, policy)

    async def add_label(self, label: Label) -> bool:
        return await labels.add(self._client, label)

    async def remove_label(self, id: str, choice: int, source: Source) -> bool:  # noqa: A002
        return await labels.remove(self._client, id, choice, source)

    async def labels(self, id: str) -> list[Label]:  # noqa: A002
        return await labels.of_request(self._client, id)

    async def labelled(self, route: str, source: Source | None = None, limit: int = 10_000) -> list[Labelled]:
        return await labels.labelled(self._client, route, source, limit)

    async def audit_item(self, id: str, choice: int) -> AuditItem | None:  # noqa: A002
        return await labels.item(self._client, id, choice)

    async def audit(
        self, route: str, *, after: int = 0, limit: int = 100, labelled: bool | None = None
    ) -> list[tuple[AuditItem, Label | None]]:
        return await labels.sample(self._client, route, after, limit, labelled)

    async def watched(self, route: str, policy: str) -> list[SampledOutcome]:
        return await labels.watched(self._client, route, policy)

    async def risk(self, route: str) -> RiskState | None:
        return await policies.risk(self._client, route)

    async def risks(self) -> list[RiskState]:
        return await policies.risks(self._client)

    async def put_risk(self, state: RiskState) -> bool:
        return await policies.put_risk(self._client, state)

    async def put_key(self, key: StoredKey) -> bool:
        return await keys.put(self._client, key)

    async def revoke_key(self, name: str, at: float) -> bool:
        return await keys.revoke(self._client, name, at)

    async def keys(self) -> list[StoredKey]:
        return await keys.every(self._client)

    async def note_key_uses(self, uses: Mapping[str, float]) -> None:
        await keys.note_uses(self._client, uses)

    async def key_uses(self) -> dict[str, float]:
        return await keys.uses(self._client)

    async def end_session(self, session: str, expires: float, at: float) -> None:
        await keys.end_session(self._client, session, expires, at)

    async def session_ended(self, session: str) -> bool:
        return await keys.session_ended(self._client, session)

    async def spend(self, account: str, amount: int, most: int | None, at: float) -> float | None:
        limit = "" if most is None else str(most)
        wait_ms = await self._client.run(scripts.SPEND, account, amount, limit, repr(at))
        return None if wait_ms < 0 else wait_ms / 1000

    async def retain(self, before: float, most: int) -> int:
        return await labels.retain(self._client, before, most)
