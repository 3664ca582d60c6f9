"""Amounts spent of rate limits, per second, in SQLite. Each function runs in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.storage.window import WINDOW_S, wait_for

if TYPE_CHECKING:
    import sqlite3

_ADD = "INSERT INTO spendings VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount"


def spend(
    connection: sqlite3.Connection, account: str, amount: int, most: int | None, at: float
) -> float | None:
    second = int(at)
    connection.execute("DELETE FROM spendings WHERE account = ? AND second < ?", (account, second - WINDOW_S))
    ahead = connection.execute(
        "SELECT coalesce(sum(amount), 0) FROM spendings WHERE account = ? AND second > ?",
        (account, second + WINDOW_S),
    ).fetchone()[0]
    if ahead:  # the clock was set back; see ``proxy.storage.window``
        connection.execute(
            "DELETE FROM spendings WHERE account = ? AND second > ?", (account, second + WINDOW_S)
        )
        connection.execute(_ADD, (account, second, ahead))
    spent = connection.execute(
        "SELECT second, amount FROM spendings WHERE account = ? ORDER BY second", (account,)
    ).fetchall()
    excess = sum(each for _, each in spent) + max(amount, 1) - (most or 0)
    if most is not None and excess > 0:
        return wait_for(spent, excess, at)
    if amount:
        connection.execute(_ADD, (account, second, amount))
    return None
