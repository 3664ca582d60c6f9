"""Labels, audit samples and retention in SQLite. Each function runs in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.storage.coding import decode_audit, decode_decision
from proxy.storage.sqlite.policies import increment_revision
from proxy.storage.types import AuditItem, Label, Labelled, SampledOutcome

if TYPE_CHECKING:
    import sqlite3

    from proxy.storage.sealing import Sealer
    from proxy.storage.types import Source

_LABEL = "labels.id, labels.choice, labels.source, labels.label, labels.who, labels.at"
#: Audit items joined with their label by a person.
_WITH_LABEL = (
    "audit LEFT JOIN labels"
    " ON labels.id = audit.id AND labels.choice = audit.choice AND labels.source = 'audit'"
)


def add(connection: sqlite3.Connection, label: Label) -> bool:
    return _notify(
        connection,
        connection.execute(
            "INSERT INTO labels (id, choice, source, label, who, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET label = excluded.label, who = excluded.who, at = excluded.at"
            " WHERE label <> excluded.label",
            (label.id, label.choice, label.source, label.label, label.who, label.at),
        ).rowcount,
    )


def _notify(connection: sqlite3.Connection, changed: int) -> bool:
    """Increment the revision after a change, because labels affect risk monitoring; return whether there was one."""
    if changed:
        increment_revision(connection)
    return bool(changed)


def remove(connection: sqlite3.Connection, id: str, choice: int, source: Source) -> bool:  # noqa: A002
    return _notify(
        connection,
        connection.execute(
            "DELETE FROM labels WHERE id = ? AND choice = ? AND source = ?", (id, choice, source)
        ).rowcount,
    )


def of_request(connection: sqlite3.Connection, id: str) -> list[Label]:  # noqa: A002
    rows = connection.execute(f"SELECT {_LABEL} FROM labels WHERE id = ? ORDER BY choice, source", (id,))  # noqa: S608 - of constants
    return [_label(row) for row in rows]


def _label(row: tuple[str, int, Source, str, str, float]) -> Label:
    id_, choice, source, label, who, at = row
    return Label(id=id_, choice=choice, source=source, label=label, who=who, at=at)  # type: ignore[arg-type] # kept so


def labelled(
    connection: sqlite3.Connection, route: str, source: Source | None, limit: int, sealer: Sealer
) -> list[Labelled]:
    rows = connection.execute(
        f"SELECT {_LABEL}, body, text FROM labels CROSS JOIN decisions USING (id, choice)"  # noqa: S608 - of constants
        " WHERE route = ?1 AND (?2 IS NULL OR source = ?2) ORDER BY labels.at DESC LIMIT ?3",
        (route, source, limit),
    ).fetchall()
    return [Labelled(label=_label(row[:6]), decision=decode_decision(row[6], row[7], sealer)) for row in rows]


def item(connection: sqlite3.Connection, id: str, choice: int, sealer: Sealer) -> AuditItem | None:  # noqa: A002
    row = connection.execute(
        "SELECT body, seq FROM audit WHERE id = ? AND choice = ?", (id, choice)
    ).fetchone()
    return None if row is None else decode_audit(row[0], row[1], sealer)


def sample(
    connection: sqlite3.Connection, route: str, after: int, limit: int, labelled: bool | None, sealer: Sealer
) -> list[tuple[AuditItem, Label | None]]:
    wanted = {None: "", True: "AND label IS NOT NULL", False: "AND label IS NULL"}[labelled]
    rows = connection.execute(
        f"SELECT body, seq, {_LABEL} FROM {_WITH_LABEL} WHERE audit.route = ? AND seq > ? {wanted}"  # noqa: S608 - of constants
        " ORDER BY seq LIMIT ?",
        (route, after, limit),
    ).fetchall()
    return [
        (decode_audit(row[0], row[1], sealer), None if row[2] is None else _label(row[2:])) for row in rows
    ]


def watched(connection: sqlite3.Connection, route: str, policy: str) -> list[SampledOutcome]:
    rows = connection.execute(
        f"SELECT decision, confidence, label FROM {_WITH_LABEL} WHERE audit.route = ? AND policy = ? ORDER BY seq",  # noqa: S608 - of constants
        (route, policy),
    )
    return [SampledOutcome(decision=decision, confidence=c, label=label) for decision, c, label in rows]


def time_limit(connection: sqlite3.Connection, most: int) -> float | None:
    """Return the time of the newest decision beyond the ``most`` newest ones; None where there are fewer."""
    row = connection.execute("SELECT at FROM decisions ORDER BY at DESC LIMIT 1 OFFSET ?", (most,)).fetchone()
    return None if row is None else float(row[0])


def delete_older(connection: sqlite3.Connection, before: float, limit: int) -> int:
    """Delete at most ``limit`` of the decisions before a time, with labels and audit items; return how many."""
    rows = connection.execute(
        "SELECT id, choice FROM decisions WHERE at < ? ORDER BY at LIMIT ?", (before, limit)
    ).fetchall()
    _delete(connection, rows)
    # An audit item may be older than its decision, which is written separately.
    connection.execute(
        "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
        (before, limit),
    )
    return len(rows)


def delete_unlabelled(connection: sqlite3.Connection, until: float, limit: int) -> int:
    """Delete at most ``limit`` of the decisions up to a time that have neither a label nor an audit item."""
    rows = connection.execute(
        "SELECT id, choice FROM decisions WHERE at <= ? AND NOT EXISTS"
        " (SELECT 1 FROM labels WHERE labels.id = decisions.id) AND NOT EXISTS"
        " (SELECT 1 FROM audit WHERE audit.id = decisions.id) ORDER BY at LIMIT ?",
        (until, limit),
    ).fetchall()
    _delete(connection, rows)
    return len(rows)


def _delete(connection: sqlite3.Connection, rows: list[tuple[str, int]]) -> None:
    for table in ("labels", "audit", "decisions"):
        connection.executemany(f"DELETE FROM {table} WHERE id = ? AND choice = ?", rows)  # noqa: S608 - of constants
