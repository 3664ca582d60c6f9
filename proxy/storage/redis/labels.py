"""Labels, audit samples and retention in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.storage.coding import decode, decode_audit, encode
from proxy.storage.redis import scripts
from proxy.storage.redis.client import BATCH, CHUNK, Client, member
from proxy.storage.redis.decisions import delete_old_counts
from proxy.storage.types import AuditItem, DecisionRecord, Label, Labelled, SampledOutcome, Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SOURCES: tuple[Source, ...] = ("audit", "feedback", "judge")


async def add(client: Client, label: Label) -> bool:
    of = await _decision(client, label.id, label.choice)
    return bool(
        await client.run(
            scripts.ADD_LABEL, member(label.id, label.choice), label.source, label.label, encode(label),
            repr(label.at), "" if of is None else of.route, "" if of is None else of.policy or "",
            str(int(of is not None and of.by_confidence)),
        )
    )  # fmt: skip


async def remove(client: Client, id: str, choice: int, source: Source) -> bool:  # noqa: A002
    of = await _decision(client, id, choice)
    route, policy = ("", "") if of is None else (of.route, of.policy or "")
    return bool(await client.run(scripts.REMOVE_LABEL, member(id, choice), source, route, policy))


async def _decision(client: Client, id: str, choice: int) -> DecisionRecord | None:  # noqa: A002
    body = await client.do(client.redis.hget(client.key("decisions"), member(id, choice)))
    return None if body is None else decode(body, DecisionRecord)


async def of_request(client: Client, id: str) -> list[Label]:  # noqa: A002
    choices = await client.do(client.redis.hget(client.key("choices"), id)) or b""
    fields = [
        f"{member(id, choice)}:{source}"
        for choice in sorted(int(each) for each in choices.split(b",") if each)
        for source in SOURCES
    ]
    return [decode(kept, Label) for kept in await client.fields("labels", fields) if kept is not None]


async def labelled(client: Client, route: str, source: Source | None, limit: int) -> list[Labelled]:
    found: list[Labelled] = []
    start = 0
    while len(found) < limit:
        fields = await client.do(
            client.redis.zrevrange(client.key("labelled", route), start, start + CHUNK - 1)
        )
        if not fields:
            break
        start += len(fields)
        wanted = [field for field in fields if source is None or field.endswith(b":" + source.encode())]
        kept = await client.fields("labels", wanted)
        labels = [decode(each, Label) for each in kept if each is not None]
        members = [member(label.id, label.choice).encode() for label in labels]
        records = {(record.id, record.choice): record for record in await client.records(members)}
        found += [
            Labelled(label=label, decision=records[label.id, label.choice])
            for label in labels
            if (label.id, label.choice) in records
        ]
    return found[:limit]


async def item(client: Client, id: str, choice: int) -> AuditItem | None:  # noqa: A002
    name = member(id, choice)
    kept = await client.do(client.redis.hget(client.key("audit"), name))
    if kept is None:
        return None
    of = await _decision(client, id, choice)
    if of is None:
        return None
    place = await client.do(client.redis.zscore(client.key("audit", of.route), name))
    return decode_audit(kept, int(place or 0), client.sealer)


async def sample(
    client: Client, route: str, after: int, limit: int, wanted: bool | None
) -> list[tuple[AuditItem, Label | None]]:
    found: list[tuple[AuditItem, Label | None]] = []
    async for place, body, label in _sampled(client, route, after, min(limit, CHUNK)):
        if wanted is None or wanted == (label is not None):
            found.append((decode_audit(body, place, client.sealer), label))
        if len(found) == limit:
            break
    return found


async def _sampled(
    client: Client, route: str, after: int, chunk: int
) -> AsyncIterator[tuple[int, bytes, Label | None]]:
    key = client.key("audit", route)
    while rows := await client.do(
        client.redis.zrangebyscore(key, f"({after}", "+inf", start=0, num=chunk, withscores=True)
    ):
        members = [name for name, _ in rows]
        labels = await _labels(client, members)
        bodies = await client.fields("audit", members)
        for (_, place), body, label in zip(rows, bodies, labels, strict=True):
            if body is not None:
                yield int(place), body, label
        after, chunk = int(rows[-1][1]), CHUNK


async def _labels(client: Client, members: Sequence[bytes]) -> list[Label | None]:
    """Return the label by a person for each member, or None."""
    kept = await client.fields("labels", [name + b":audit" for name in members])
    return [None if label is None else decode(label, Label) for label in kept]


async def watched(client: Client, route: str, policy: str) -> list[SampledOutcome]:
    members = await client.do(client.redis.zrange(client.key("watched", f"{route} {policy}"), 0, -1))
    found: list[SampledOutcome] = []
    for start in range(0, len(members), CHUNK):  # in chunks, so that Redis serves other requests in between
        part = members[start : start + CHUNK]
        briefs = await client.fields("brief", part)
        labels = await _labels(client, part)
        found += [
            _outcome(brief, label) for brief, label in zip(briefs, labels, strict=True) if brief is not None
        ]
    return found


def _outcome(brief: bytes, label: Label | None) -> SampledOutcome:
    decision, confidence = decode(brief, tuple[str, float | None])
    return SampledOutcome(
        decision=decision, confidence=confidence, label=None if label is None else label.label
    )


async def retain(client: Client, before: float, most: int) -> int:
    key, gone = client.key("at"), 0
    while old := await client.do(client.redis.zrangebyscore(key, "-inf", f"({before!r}", start=0, num=CHUNK)):
        gone += await _delete(client, old)
    over = await client.do(client.redis.zcard(key)) - most
    start = 0
    while start < over:
        members = await client.do(client.redis.zrange(key, start, min(start + CHUNK, over) - 1))
        unlabelled = await _unlabelled(client, members)
        gone += await _delete(client, unlabelled)
        over -= len(unlabelled)
        start += len(members) - len(unlabelled)
    await delete_old_counts(client)
    return gone


async def _unlabelled(client: Client, members: Sequence[bytes]) -> list[bytes]:
    """Return the members that have neither a label nor an audit item."""
    fields = [name + b":" + source.encode() for name in members for source in SOURCES]
    labels = await client.fields("labels", fields)
    drawn = await client.fields("brief", members)
    return [
        name
        for place, name in enumerate(members)
        if drawn[place] is None and not any(labels[place * len(SOURCES) : (place + 1) * len(SOURCES)])
    ]


async def _delete(client: Client, members: Sequence[bytes]) -> int:
    bodies = await client.fields("decisions", members)
    given: list[str | bytes] = []
    for name, body in zip(members, bodies, strict=True):
        if body is not None:
            of = decode(body, DecisionRecord)
            given += [name, of.id, of.route, of.policy or "", of.completion_id or ""]
    for start in range(0, len(given), 5 * BATCH):
        await client.run(scripts.DELETE_DECISIONS, *given[start : start + 5 * BATCH])
    return len(given) // 5
