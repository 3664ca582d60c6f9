"""Opening of a SQLite file: private, durable, with the current schema, and read-only where nothing may change."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from proxy.exceptions import StoreError
from proxy.storage.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    from proxy.storage.access import Access

MEMORY: Final = ":memory:"
#: Seconds that a transaction waits for one of another process.
BUSY_S: Final = 5.0
#: Seconds between attempts where SQLite itself does not wait; its own busy handler waits 1 to 100 ms.
_BUSY_STEP_S: Final = 0.01
#: The size to which the write-ahead log is cut after a checkpoint.
_LOG_BYTES: Final = 16_000_000


def open_connection(path: str, name: str, access: Access) -> sqlite3.Connection:
    """Return a connection for ``access``; raises StoreError or sqlite3.Error."""
    if access == "read" and path != MEMORY:
        return _open_read_only(path, name)
    if path != MEMORY:
        create_private(path, name)
    connection = _connect(path)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on a new file only
        # WAL protects against a killed process; synchronous = FULL also against a power failure.
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        _update_schema(connection, path, name, access)
    except BaseException:
        connection.close()
        raise
    return connection


def file_id(path: str) -> tuple[int, int] | None:
    """Return the device and the inode of a file; None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - before each transaction: a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino


def create_private(path: str, name: str) -> None:
    """Create an empty file that its owner alone can read, unless it exists; SQLite gives its log the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    except OSError as exc:
        raise StoreError(f"{name}: cannot be created: {exc.strerror}") from exc


def schema_of(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of migrations that a file has had; raises StoreError for a later version's file."""
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    if done > len(MIGRATIONS):
        raise StoreError(
            f"{name}: was written by a later version of idk (schema {done}, this version supports "
            f"{len(MIGRATIONS)}); install that version or use another store"
        )
    return int(done)


def _connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=128, uri=uri
    )


def _open_read_only(path: str, name: str) -> sqlite3.Connection:
    """Return a connection that cannot change the file; tables that an older schema lacks are temporary and empty."""
    if not Path(path).exists():
        raise StoreError(
            f"{name}: there is no such file; check the URL, or run `idk serve`, which creates it"
        )
    connection = _connect(f"file:{quote(path)}?mode=ro", uri=True)
    try:
        done = schema_of(connection, name)
        if done == 0:
            raise StoreError(f"{name}: holds no store of idk")
        for statement in (each for migration in MIGRATIONS[done:] for each in migration):
            connection.execute(statement.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
    except BaseException:
        connection.close()
        raise
    return connection


def _update_schema(connection: sqlite3.Connection, path: str, name: str, access: Access) -> None:
    done = schema_of(connection, name)
    if 0 < done < len(MIGRATIONS):
        if access != "serve":
            raise StoreError(
                f"{name}: has the schema of an older version ({done}, this version uses {len(MIGRATIONS)}); "
                "run `idk store migrate`, which makes a backup beside the file first"
            )
        _back_up(connection, Path(f"{path}.schema-{done}.bak"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in MIGRATIONS[schema_of(connection, name) :]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the store to ``target``, unless an earlier backup of the same schema is there."""
    if target.exists():
        return
    create_private(str(target), str(target))
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL mode.

    SQLite does not wait for this lock, because two processes that switch at once could wait for each other forever
    (sqlite.org/c3ref/busy_handler.html). A process that is refused releases its lock and tries again.
    """
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_BUSY_STEP_S)
        else:
            return
