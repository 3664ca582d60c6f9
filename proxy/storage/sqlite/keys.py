"""Client keys and ended admin sessions in SQLite. Each function runs in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.storage.coding import decode, encode
from proxy.storage.sqlite.policies import increment_revision
from proxy.storage.types import StoredKey

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

_USED = "INSERT INTO key_uses VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)"


def put(connection: sqlite3.Connection, key: StoredKey) -> bool:
    done = connection.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (key.name, encode(key))).rowcount
    if done:
        increment_revision(connection)
    return bool(done)


def revoke(connection: sqlite3.Connection, name: str, at: float) -> bool:
    row = connection.execute("SELECT body FROM keys WHERE name = ?", (name,)).fetchone()
    key = None if row is None else decode(row[0], StoredKey)
    if key is None or key.revoked_at is not None:
        return False
    revoked = msgspec.structs.replace(key, revoked_at=at)
    connection.execute("UPDATE keys SET body = ? WHERE name = ?", (encode(revoked), name))
    increment_revision(connection)
    return True


def every(connection: sqlite3.Connection) -> list[StoredKey]:
    rows = connection.execute("SELECT body FROM keys ORDER BY name")
    return [decode(body, StoredKey) for (body,) in rows]


def note_uses(connection: sqlite3.Connection, uses: Mapping[str, float]) -> None:
    connection.executemany(_USED, uses.items())


def uses(connection: sqlite3.Connection) -> dict[str, float]:
    return dict(connection.execute("SELECT name, at FROM key_uses"))


def end_session(connection: sqlite3.Connection, session: str, expires: float, at: float) -> None:
    connection.execute("DELETE FROM ended_sessions WHERE expires <= ?", (at,))
    connection.execute("INSERT OR REPLACE INTO ended_sessions VALUES (?, ?)", (session, expires))


def session_ended(connection: sqlite3.Connection, session: str) -> bool:
    found = connection.execute("SELECT 1 FROM ended_sessions WHERE session = ?", (session,)).fetchone()
    return found is not None
