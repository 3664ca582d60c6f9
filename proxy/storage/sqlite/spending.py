"""What was spent of a limit, second by second. Each function is one transaction's work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.storage.window import WINDOW_S, wait_for

if TYPE_CHECKING:
    import sqlite3


def spend(
    connection: sqlite3.Connection, account: str, amount: int, most: int | None, at: float
) -> float | None:
    second = int(at)
    connection.execute("DELETE FROM spendings WHERE account = ? AND second < ?", (account, second - WINDOW_S))
    spent = connection.execute(
        "SELECT second, amount FROM spendings WHERE account = ? ORDER BY second", (account,)
    ).fetchall()
    excess = sum(each for _, each in spent) + max(amount, 1) - (most or 0)
    if most is not None and excess > 0:
        return wait_for(spent, excess, at)
    if amount:
        connection.execute(
            "INSERT INTO spendings VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            (account, second, amount),
        )
    return None
