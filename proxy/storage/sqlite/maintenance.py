"""Space and backups of a SQLite file. The functions run outside transactions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from proxy.storage.sqlite.opening import BUSY_S

if TYPE_CHECKING:
    from pathlib import Path

#: Free pages that one step returns to the file system (4 MB of 4 KB pages).
_STEP_PAGES: Final = 1_000
#: Milliseconds that a truncating checkpoint waits for readers: it blocks writers during that time.
_CHECKPOINT_MS: Final = 200


def give_back_space(connection: sqlite3.Connection) -> None:
    """Return free pages to the file system, and empty the write-ahead log, which holds deleted texts."""
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    while mode and free > 0:
        # ``execute`` would free one page: it steps a statement without result columns once.
        connection.executescript(f"PRAGMA incremental_vacuum({_STEP_PAGES})")
        free -= _STEP_PAGES
    empty_log(connection)


def empty_log(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the file and truncate it, unless a reader still needs it."""
    connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_MS}")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")


def vacuum(connection: sqlite3.Connection) -> None:
    """Rewrite the file without free pages, so that it gives back space from now on; needs as much free disk space."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")
    empty_log(connection)


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the database into the empty file ``target`` while others write to it."""
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy, pages=_STEP_PAGES)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
