"""Decisions in Redis: bodies in a hash, sorted sets for the order by time and by confidence."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from proxy.exceptions import StoreRefused
from proxy.storage.coding import decode, encode, encode_audit, encode_decision
from proxy.storage.redis import scripts
from proxy.storage.redis.client import BATCH, CHUNK, Client, member
from proxy.storage.types import Count, DecisionQuery, DecisionRecord, Page, PolicyTally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.storage.types import AuditItem

#: Counts are kept per minute, for as long as the admin page shows rates.
MINUTE_S = 60
_COUNTED_S = 26 * 60 * MINUTE_S
#: Up to this many decisions of a confidence range are loaded and sorted by time in memory.
_MAX_IN_MEMORY = 5_000


async def add(client: Client, records: Sequence[DecisionRecord], audit: Sequence[AuditItem]) -> None:
    for start in range(0, len(records), BATCH):
        given = [value for record in records[start : start + BATCH] for value in _arguments(client, record)]
        await client.run(scripts.ADD_DECISIONS, *given)
    for item in audit:  # one at a time: the evidence of a long answer takes a while to encode
        await client.run(scripts.ADD_AUDIT, *_audit_arguments(client, item))


def _arguments(client: Client, record: DecisionRecord) -> tuple[str | bytes, ...]:
    body, text = encode_decision(record, client.sealer)
    return (
        member(record.id, record.choice), record.id, str(record.choice), record.completion_id or "",
        repr(record.at), record.route, record.policy or "",
        "" if record.confidence is None else repr(record.confidence), str(int(record.by_confidence)),
        str(int(record.at // MINUTE_S) * MINUTE_S), encode((record.route, record.decision, record.reason)),
        body, text or b"",
    )  # fmt: skip


def _audit_arguments(client: Client, item: AuditItem) -> tuple[str | bytes, ...]:
    of = item.decision
    brief = encode((of.decision, of.confidence))
    return (
        member(of.id, of.choice), of.route, of.policy or "", brief, encode_audit(item, client.sealer)
    )  # fmt: skip


async def of_request(client: Client, id: str) -> list[DecisionRecord]:  # noqa: A002
    choices = await client.do(client.redis.hget(client.key("choices"), id))
    if choices is None:
        found = await client.do(client.redis.hget(client.key("completions"), id))
        if found is None:
            return []
        id = found.decode()  # noqa: A001
        choices = await client.do(client.redis.hget(client.key("choices"), id)) or b""
    members = [member(id, int(choice)).encode() for choice in choices.split(b",") if choice]
    return sorted(await client.records(members), key=lambda record: record.choice)


async def page(client: Client, query: DecisionQuery) -> Page:
    found: list[DecisionRecord] = []
    selected = await _by_confidence(client, query)
    async for record in _newest(client, query) if selected is None else _sort_by_time(selected, query):
        if _matches(record, query):
            found.append(record)
        if len(found) > query.limit:
            break
    items = found[: query.limit]
    if len(found) <= query.limit:
        return Page(items=items, cursor=None)
    at, name = _position(items[-1])
    return Page(items=items, cursor=f"{at!r}:{name}")


async def _by_confidence(client: Client, query: DecisionQuery) -> list[DecisionRecord] | None:
    """Return all decisions in the query's confidence range, or None where there are too many to sort in memory."""
    if query.route is None or (query.low is None and query.high is None):
        return None
    key = client.key("confidence", query.route)
    low = "-inf" if query.low is None else repr(query.low)
    high = "+inf" if query.high is None else f"({query.high!r}"
    if await client.do(client.redis.zcount(key, low, high)) > _MAX_IN_MEMORY:
        return None
    return await client.records(await client.do(client.redis.zrangebyscore(key, low, high)))


async def _sort_by_time(records: list[DecisionRecord], query: DecisionQuery) -> AsyncIterator[DecisionRecord]:
    """Yield the decisions in the query's time range after its cursor, in the order of ``_newest``."""
    before = None if query.cursor is None else _place(query.cursor)
    for place, record in sorted(
        ((_position(each), each) for each in records), key=itemgetter(0), reverse=True
    ):
        if query.since is not None and record.at < query.since:
            continue
        if (query.until is None or record.at < query.until) and (before is None or place < before):
            yield record


def _position(record: DecisionRecord) -> tuple[float, str]:
    """Return the sort key of a decision: its time, then its name."""
    return record.at, member(record.id, record.choice)


def _place(cursor: str) -> tuple[float, str]:
    at, _, name = cursor.partition(":")
    try:
        return float(at), name
    except ValueError as exc:
        raise StoreRefused("the cursor is invalid; use the cursor of the previous page") from exc


async def _newest(client: Client, query: DecisionQuery) -> AsyncIterator[DecisionRecord]:
    """Yield the decisions of the query's route and time range after its cursor, the newest first."""
    key = client.key("at") if query.route is None else client.key("at", query.route)
    top = "+inf" if query.until is None else f"({query.until!r}"
    low = "-inf" if query.since is None else repr(query.since)
    before = None if query.cursor is None else _place(query.cursor)
    if before is not None:
        top = repr(before[0])
    chunk = min(CHUNK, 2 * query.limit + 2)
    start = 0
    while members := await client.do(client.redis.zrevrangebyscore(key, top, low, start=start, num=chunk)):
        for record in await client.records(members):
            if before is None or _position(record) < before:
                yield record
        start += len(members)
        chunk = CHUNK


def _matches(record: DecisionRecord, query: DecisionQuery) -> bool:
    confidence = record.confidence
    if query.low is not None and (confidence is None or confidence < query.low):
        return False
    if query.high is not None and (confidence is None or confidence >= query.high):
        return False
    return query.decision in (None, record.decision) and query.reason in (None, record.reason)


async def nearest(client: Client, route: str, confidence: float, limit: int) -> list[DecisionRecord]:
    key, at = client.key("confidence", route), repr(confidence)
    below = await client.do(client.redis.zrevrangebyscore(key, f"({at}", "-inf", start=0, num=limit))
    above = await client.do(client.redis.zrangebyscore(key, at, "+inf", start=0, num=limit))
    return await client.records([*reversed(below), *above])


async def counts(client: Client, since: float, bucket_s: float) -> list[Count]:
    first = since // MINUTE_S * MINUTE_S
    minutes = await client.do(client.redis.zrangebyscore(client.key("minutes"), first, "+inf"))
    width = max(bucket_s, MINUTE_S)
    summed: dict[tuple[float, str, str, str], int] = {}
    for minute in minutes:
        kept = await client.do(client.redis.hgetall(client.key("counts", minute.decode())))
        for outcome, number in kept.items():
            route, decision, reason = decode(outcome, tuple[str, str, str])
            place = (int(minute) // width * width, route, decision, reason)
            summed[place] = summed.get(place, 0) + int(number)
    return [
        Count(at=at, route=route, decision=decision, reason=reason, number=number)
        for (at, route, decision, reason), number in sorted(summed.items())
    ]


async def delete_old_counts(client: Client) -> None:
    """Delete the counts of minutes that are too old for any page."""
    newest = await client.do(client.redis.zrevrange(client.key("minutes"), 0, 0))
    if not newest:
        return
    first = int(newest[0]) - _COUNTED_S
    while await client.do(client.redis.zcount(client.key("minutes"), "-inf", f"({first}")):
        await client.run(scripts.DELETE_COUNTS, str(first))


async def confidences(
    client: Client, route: str, since: float, limit: int, policy: str | None, oldest: bool
) -> list[float]:
    key, found, start = client.key("at", route), list[float](), 0
    while len(found) < limit:
        members = await client.do(
            client.redis.zrange(
                key,
                *((since, "+inf") if oldest else ("+inf", since)),
                desc=not oldest,
                byscore=True,
                offset=start,
                num=CHUNK,
            )
        )
        if not members:
            break
        start += len(members)
        found += [
            record.confidence
            for record in await client.records(members)
            if record.confidence is not None and policy in (None, record.policy)
        ]
    return found[:limit]


async def tally(client: Client, route: str, policy: str) -> PolicyTally:
    answered = await client.do(client.redis.hget(client.key("tallies"), f"{route} {policy}"))
    reported = await client.do(client.redis.scard(client.key("reported", f"{route} {policy}")))
    return PolicyTally(answered=int(answered or 0), reported=int(reported))
