"""Decisions and their counts in SQLite. Each function runs in one transaction."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from proxy.exceptions import StoreRefused
from proxy.storage.coding import decode_decision, encode_audit, encode_decision
from proxy.storage.types import Count, DecisionQuery, DecisionRecord, Page, PolicyTally

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from proxy.storage.sealing import Sealer
    from proxy.storage.types import AuditItem

#: SQL conditions by the field of a query.
_CONDITIONS = {
    "route": "route = :route",
    "since": "at >= :since",
    "until": "at < :until",
    "low": "confidence >= :low",
    "high": "confidence < :high",
    "decision": "decision = :decision",
    "reason": "reason = :reason",
}

#: Rows per INSERT statement, the largest first. Each statement releases the GIL and must get it back from the event
#: loop's thread, which costs more than a row.
_ROWS = (64, 8, 1)
_COLUMNS = "id, choice, completion_id, at, route, policy, decision, reason, confidence, body, text"
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = f"INSERT OR IGNORE INTO decisions ({_COLUMNS}) VALUES "  # noqa: S608 - of constants


def add(
    connection: sqlite3.Connection,
    records: Sequence[DecisionRecord],
    items: Sequence[AuditItem],
    sealer: Sealer,
) -> None:
    rows = [_row(record, sealer) for record in records]
    connection.execute("SAVEPOINT decisions")
    if _insert(connection, rows) == len(rows):
        new = records
    else:  # some rows exist; insert one at a time to find the new ones
        connection.execute("ROLLBACK TO decisions")
        new = [record for record, row in zip(records, rows, strict=True) if _insert(connection, [row])]
    connection.execute("RELEASE decisions")
    served = Counter((one.route, one.policy) for one in new if one.by_confidence and one.policy is not None)
    for place, count in served.items():
        connection.execute(
            "INSERT INTO tallies VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET answered = answered + ?3",
            (*place, count),
        )
    for item in items:
        of = item.decision
        connection.execute(
            "INSERT OR IGNORE INTO audit (id, choice, at, route, policy, decision, confidence, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                of.id, of.choice, of.at, of.route, of.policy, of.decision, of.confidence,
                encode_audit(item, sealer),
            ),
        )  # fmt: skip


def _row(record: DecisionRecord, sealer: Sealer) -> tuple[object, ...]:
    body, text = encode_decision(record, sealer)
    return (
        record.id, record.choice, record.completion_id, record.at, record.route, record.policy,
        record.decision, record.reason, record.confidence, body, text,
    )  # fmt: skip


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> int:
    """Insert ``rows`` and return how many were new."""
    new = start = 0
    for size in _ROWS:
        statement = _INSERT + ", ".join([_VALUES] * size)
        while len(rows) - start >= size:
            given = [*chain.from_iterable(rows[start : start + size])]
            new += connection.execute(statement, given).rowcount
            start += size
    return new


def of_request(connection: sqlite3.Connection, id: str, sealer: Sealer) -> list[DecisionRecord]:  # noqa: A002
    rows = connection.execute(
        "SELECT body, text FROM decisions WHERE id = ?1 OR completion_id = ?1 ORDER BY at DESC, id, choice",
        (id,),
    ).fetchall()
    return [decode_decision(body, text, sealer) for body, text in rows]


def page(connection: sqlite3.Connection, query: DecisionQuery, sealer: Sealer) -> Page:
    given = {name: value for name in _CONDITIONS if (value := getattr(query, name)) is not None}
    conditions = [_CONDITIONS[name] for name in given]
    if query.cursor is not None:
        given |= _place(query.cursor)
        conditions.append("(at, seq) < (:before_at, :before_seq)")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT at, seq, body, text FROM decisions {where} ORDER BY at DESC, seq DESC LIMIT :limit",  # noqa: S608 - of constants
        {**given, "limit": query.limit + 1},
    ).fetchall()
    more, rows = len(rows) > query.limit, rows[: query.limit]
    items = [decode_decision(body, text, sealer) for _, _, body, text in rows]
    return Page(items=items, cursor=f"{rows[-1][0]!r}:{rows[-1][1]}" if more else None)


def _place(cursor: str) -> dict[str, float]:
    at, _, seq = cursor.partition(":")
    try:
        return {"before_at": float(at), "before_seq": int(seq)}
    except ValueError as exc:
        raise StoreRefused("the cursor is invalid; use the cursor of the previous page") from exc


def nearest(
    connection: sqlite3.Connection, route: str, confidence: float, limit: int, sealer: Sealer
) -> list[DecisionRecord]:
    sides = (("<", "DESC"), (">=", "ASC"))
    below, above = (
        connection.execute(
            f"SELECT body, text FROM decisions WHERE route = ? AND confidence {side} ?"  # noqa: S608 - of constants
            f" ORDER BY confidence {order} LIMIT ?",
            (route, confidence, limit),
        ).fetchall()
        for side, order in sides
    )
    return [decode_decision(body, text, sealer) for body, text in [*reversed(below), *above]]


def counts(connection: sqlite3.Connection, since: float, bucket_s: float) -> list[Count]:
    rows = connection.execute(
        "SELECT CAST(at / :width AS INTEGER) * :width AS bucket, route, decision, reason, count(*)"
        " FROM decisions WHERE at >= :since GROUP BY bucket, route, decision, reason"
        " ORDER BY bucket, route, decision, reason",
        {"width": bucket_s, "since": since},
    )
    return [Count(at=at, route=route, decision=d, reason=r, number=n) for at, route, d, r, n in rows]


def confidences(
    connection: sqlite3.Connection, route: str, since: float, limit: int, policy: str | None, oldest: bool
) -> list[float]:
    rows = connection.execute(
        "SELECT confidence FROM decisions INDEXED BY decisions_route_at WHERE route = ?1 AND at >= ?2"  # noqa: S608 - of constants
        " AND confidence IS NOT NULL AND (?3 IS NULL OR policy = ?3)"
        f" ORDER BY at {'ASC' if oldest else 'DESC'} LIMIT ?4",
        (route, since, policy, limit),
    )
    return [confidence for (confidence,) in rows]


def tally(connection: sqlite3.Connection, route: str, policy: str) -> PolicyTally:
    row = connection.execute(
        "SELECT answered FROM tallies WHERE route = ? AND policy = ?", (route, policy)
    ).fetchone()
    # CROSS JOIN makes SQLite scan the labels first, which are fewer.
    (reported,) = connection.execute(
        "SELECT count(*) FROM labels CROSS JOIN decisions USING (id, choice) WHERE labels.source = 'feedback'"
        " AND labels.label = 'incorrect' AND route = ? AND policy = ? AND decision = 'answer'"
        " AND confidence IS NOT NULL",
        (route, policy),
    ).fetchone()
    return PolicyTally(answered=0 if row is None else row[0], reported=reported)
