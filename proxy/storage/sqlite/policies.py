"""Policies and risk states in SQLite. Each function runs in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.exceptions import StoreRefused
from proxy.storage.coding import decode, encode
from proxy.storage.types import PolicyChange, RiskState, StoredPolicy

if TYPE_CHECKING:
    import sqlite3

_IN_FORCE = "SELECT version FROM policy_changes WHERE name = ? ORDER BY seq DESC LIMIT 1"


def revision(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("SELECT revision FROM revisions").fetchone()[0]
    return found


def push(
    connection: sqlite3.Connection, name: str, policy: dict[str, Any], who: str, at: float
) -> StoredPolicy:
    (last,) = connection.execute("SELECT max(version) FROM policies WHERE name = ?", (name,)).fetchone()
    version = (last or 0) + 1
    connection.execute(
        "INSERT INTO policies VALUES (?, ?, ?, ?, ?)", (name, version, encode(policy), who, at)
    )
    _put_in_force(connection, name, version, "push", who, at)
    return StoredPolicy(name=name, version=version, policy=policy, who=who, at=at, in_force=True)


def roll_back(
    connection: sqlite3.Connection, name: str, version: int | None, who: str, at: float
) -> StoredPolicy:
    now = _in_force(connection, name)
    if now is None:
        raise StoreRefused(f"there is no policy `{name}` to roll back")
    if version is None:
        (version,) = connection.execute(
            "SELECT max(version) FROM policies WHERE name = ? AND version < ?", (name, now)
        ).fetchone()
        if version is None:
            raise StoreRefused(f"{name}@{now} is the oldest version; there is none to roll back to")
    found = one(connection, name, version)
    if found is None:
        raise StoreRefused(f"there is no {name}@{version}; `idk policy list` names the versions")
    _put_in_force(connection, name, version, "rollback", who, at)
    return StoredPolicy(
        name=name, version=version, policy=found.policy, who=found.who, at=found.at, in_force=True
    )


def _put_in_force(
    connection: sqlite3.Connection, name: str, version: int, action: str, who: str, at: float
) -> None:
    connection.execute(
        "INSERT INTO policy_changes (name, version, action, who, at) VALUES (?, ?, ?, ?, ?)",
        (name, version, action, who, at),
    )
    increment_revision(connection)


def increment_revision(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE revisions SET revision = revision + 1")


def _in_force(connection: sqlite3.Connection, name: str) -> int | None:
    found = connection.execute(_IN_FORCE, (name,)).fetchone()
    return None if found is None else found[0]


def one(connection: sqlite3.Connection, name: str, version: int | None) -> StoredPolicy | None:
    now = _in_force(connection, name)
    row = connection.execute(
        "SELECT name, version, policy, who, at FROM policies WHERE name = ? AND version = ?",
        (name, now if version is None else version),
    ).fetchone()
    return None if row is None else _policy(row, now)


def every(connection: sqlite3.Connection, name: str | None) -> list[StoredPolicy]:
    rows = connection.execute(
        "SELECT name, version, policy, who, at FROM policies WHERE ?1 IS NULL OR name = ?1"
        " ORDER BY name, version DESC",
        (name,),
    ).fetchall()
    in_force = {each: _in_force(connection, each) for each in {row[0] for row in rows}}
    return [_policy(row, in_force[row[0]]) for row in rows]


def _policy(row: tuple[str, int, bytes, str, float], in_force: int | None) -> StoredPolicy:
    name, version, policy, who, at = row
    return StoredPolicy(
        name=name, version=version, policy=decode(policy, dict), who=who, at=at, in_force=version == in_force
    )


def history(connection: sqlite3.Connection, name: str) -> list[PolicyChange]:
    rows = connection.execute(
        "SELECT name, version, action, who, at FROM policy_changes WHERE name = ? ORDER BY seq DESC", (name,)
    )
    return [PolicyChange(name=n, version=v, action=a, who=w, at=at) for n, v, a, w, at in rows]


def risks(connection: sqlite3.Connection, route: str | None) -> list[RiskState]:
    rows = connection.execute(
        "SELECT body FROM risks WHERE ?1 IS NULL OR route = ?1 ORDER BY route", (route,)
    )
    return [decode(body, RiskState) for (body,) in rows]


def put_risk(connection: sqlite3.Connection, state: RiskState) -> bool:
    row = connection.execute("SELECT revision FROM risks WHERE route = ?", (state.route,)).fetchone()
    if state.revision != (0 if row is None else row[0]) + 1:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO risks VALUES (?, ?, ?)", (state.route, state.revision, encode(state))
    )
    increment_revision(connection)
    return True
