"""A SQLite connection in a dedicated thread, which runs one complete transaction at a time.

aiosqlite switches threads for every statement, so a transaction of several statements would stay open while the event
loop is busy. Here a transaction is one function and one switch.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from proxy.exceptions import StoreError
from proxy.storage.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

Params = ParamSpec("Params")
Result = TypeVar("Result")

#: Seconds that a transaction waits for one of another process.
BUSY_S = 5.0
#: Seconds between attempts where SQLite itself does not wait; its own busy handler waits 1 to 100 ms.
_BUSY_STEP_S = 0.01
MEMORY = ":memory:"


class ConnectionThread:
    """A connection and its thread; ``path`` may be ``:memory:``."""

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="idk-store")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file and migrate its schema, unless it is open."""
        if self._connection is None:
            await self._call(self._open)

    async def read(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Params], Result],
        *args: Params.args,
        **kwargs: Params.kwargs,
    ) -> Result:
        """Run ``work`` on the connection."""
        return await self._call(lambda: work(self._open_connection, *args, **kwargs))

    async def write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Params], Result],
        *args: Params.args,
        **kwargs: Params.kwargs,
    ) -> Result:
        """Run ``work`` in one transaction, which is on the disk when this returns; an exception rolls it back."""

        def transaction() -> Result:
            connection = self._open_connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection, *args, **kwargs)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
            return result

        return await self._call(transaction)

    async def aclose(self) -> None:
        """Close the connection and end the thread."""
        if self._connection is not None:
            await self._call(self._connection.close)
            self._connection = None
        self._executor.shutdown(wait=False)

    async def _call(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except sqlite3.Error as exc:
            raise StoreError(f"{self._name}: {exc}") from exc

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._name}: the store is not open")
        return self._connection

    def _open(self) -> None:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=128
        )
        try:
            # WAL protects against a killed process; synchronous = FULL also against a power failure.
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        (done,) = connection.execute("PRAGMA user_version").fetchone()
        if done > len(MIGRATIONS):
            connection.rollback()
            raise StoreError(
                f"{self._name}: was written by a later version of idk (schema {done}, this version supports "
                f"{len(MIGRATIONS)}); install that version or use another store"
            )
        for migration in MIGRATIONS[done:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")


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
