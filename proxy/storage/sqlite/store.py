"""The store in SQLite, the default; several processes on one machine may share it."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING, Any

from proxy.storage.sqlite import decisions, keys, labels, maintenance, policies, spending
from proxy.storage.sqlite.connection import ConnectionThread
from proxy.storage.sqlite.opening import MEMORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.storage.access import Access
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

#: Seconds between polls for changes by other processes, since SQLite sends no notifications; a poll takes 20 µs.
POLL_S = 0.2
#: Decisions that retention deletes in one transaction.
BATCH = 500


class SqliteStore:
    """A ``Store`` in one file, with a connection for writes and one for reads, so that long reads do not delay writes.

    A store in memory has one connection and ends with the process.
    """

    def __init__(self, path: str, name: str, sealer: Sealer, access: Access = "serve") -> None:
        self.name = name
        self._sealer = sealer
        self._writer = ConnectionThread(path, name, access)
        single = path == MEMORY or access == "read"
        self._reader = self._writer if single else ConnectionThread(path, name, access)

    async def open(self) -> None:
        await self._writer.open()
        if self._reader is not self._writer:
            await self._reader.open()

    async def aclose(self) -> None:
        await self._writer.aclose()
        if self._reader is not self._writer:
            await self._reader.aclose()

    async def revision(self) -> int:
        return await self._reader.read(policies.revision)

    async def changed(self, seen: int, timeout_s: float) -> int:
        polls = max(1, ceil(timeout_s / POLL_S))
        for _ in range(polls):
            now = await self.revision()
            if now != seen:
                return now
            await asyncio.sleep(timeout_s / polls)
        return await self.revision()

    async def push_policy(self, name: str, policy: dict[str, Any], who: str, at: float) -> StoredPolicy:
        return await self._writer.write(policies.push, name, policy, who, at)

    async def roll_back(self, name: str, version: int | None, who: str, at: float) -> StoredPolicy:
        return await self._writer.write(policies.roll_back, name, version, who, at)

    async def policy(self, name: str, version: int | None = None) -> StoredPolicy | None:
        return await self._reader.read(policies.one, name, version)

    async def policies(self, name: str | None = None) -> list[StoredPolicy]:
        return await self._reader.read(policies.every, name)

    async def history(self, name: str) -> list[PolicyChange]:
        return await self._reader.read(policies.history, name)

    async def add_decisions(self, records: Sequence[DecisionRecord], audit: Sequence[AuditItem]) -> None:
        await self._writer.write(decisions.add, records, audit, self._sealer)

    async def decision(self, id: str) -> list[DecisionRecord]:  # noqa: A002
        return await self._reader.read(decisions.of_request, id, self._sealer)

    async def decisions(self, query: DecisionQuery) -> Page:
        return await self._reader.read(decisions.page, query, self._sealer)

    async def nearest(self, route: str, confidence: float, limit: int) -> list[DecisionRecord]:
        return await self._reader.read(decisions.nearest, route, confidence, limit, self._sealer)

    async def counts(self, since: float, bucket_s: float) -> list[Count]:
        return await self._reader.read(decisions.counts, since, bucket_s)

    async def confidences(
        self, route: str, since: float, limit: int, *, policy: str | None = None, oldest: bool = False
    ) -> list[float]:
        return await self._reader.read(decisions.confidences, route, since, limit, policy, oldest)

    async def tally(self, route: str, policy: str) -> PolicyTally:
        return await self._reader.read(decisions.tally, route, policy)

    async def add_label(self, label: Label) -> bool:
        return await self._writer.write(labels.add, label)

    async def remove_label(self, id: str, choice: int, source: Source) -> bool:  # noqa: A002
        return await self._writer.write(labels.remove, id, choice, source)

    async def labels(self, id: str) -> list[Label]:  # noqa: A002
        return await self._reader.read(labels.of_request, id)

    async def labelled(self, route: str, source: Source | None = None, limit: int = 10_000) -> list[Labelled]:
        return await self._reader.read(labels.labelled, route, source, limit, self._sealer)

    async def audit_item(self, id: str, choice: int) -> AuditItem | None:  # noqa: A002
        return await self._reader.read(labels.item, id, choice, self._sealer)

    async def audit(
        self, route: str, *, after: int = 0, limit: int = 100, labelled: bool | None = None
    ) -> list[tuple[AuditItem, Label | None]]:
        return await self._reader.read(labels.sample, route, after, limit, labelled, self._sealer)

    async def watched(self, route: str, policy: str) -> list[SampledOutcome]:
        return await self._reader.read(labels.watched, route, policy)

    async def risk(self, route: str) -> RiskState | None:
        return next(iter(await self._reader.read(policies.risks, route)), None)

    async def risks(self) -> list[RiskState]:
        return await self._reader.read(policies.risks, None)

    async def put_risk(self, state: RiskState) -> bool:
        return await self._writer.write(policies.put_risk, state)

    async def put_key(self, key: StoredKey) -> bool:
        return await self._writer.write(keys.put, key)

    async def revoke_key(self, name: str, at: float) -> bool:
        return await self._writer.write(keys.revoke, name, at)

    async def keys(self) -> list[StoredKey]:
        return await self._reader.read(keys.every)

    async def note_key_uses(self, uses: Mapping[str, float]) -> None:
        await self._writer.write(keys.note_uses, uses)

    async def key_uses(self) -> dict[str, float]:
        return await self._reader.read(keys.uses)

    async def end_session(self, session: str, expires: float, at: float) -> None:
        await self._writer.write(keys.end_session, session, expires, at)

    async def session_ended(self, session: str) -> bool:
        return await self._reader.read(keys.session_ended, session)

    async def spend(self, account: str, amount: int, most: int | None, at: float) -> float | None:
        return await self._writer.write(spending.spend, account, amount, most, at)

    async def retain(self, before: float, most: int) -> int:
        limit = await self._reader.read(labels.time_limit, most)
        gone = 0
        # In batches, so that other writes wait for one of them at most.
        while deleted := await self._writer.write(labels.delete_older, before, BATCH):
            gone += deleted
        while limit is not None and (
            deleted := await self._writer.write(labels.delete_unlabelled, limit, BATCH)
        ):
            gone += deleted
        await self._writer.read(maintenance.give_back_space)
        return gone
