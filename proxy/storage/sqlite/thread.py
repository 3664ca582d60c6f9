"""SQLite's connections, each in a thread of its own that takes one whole transaction at a time.

aiosqlite is the same thread behind a queue, with a hop for every statement: a transaction of several would
lie open while the event loop is busy. Here a transaction is one plain function and one hop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from proxy.exceptions import StoreError
from proxy.storage.sqlite.scheme import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Found = TypeVar("Found")

#: How long a transaction waits for another process's.
BUSY_S = 5.0
#: Between two tries where SQLite itself does not wait: its own handler's longest step is 100 ms, its first 1 ms.
_BUSY_STEP_S = 0.01
MEMORY = ":memory:"


class Thread:
    """One connection and its thread; ``path`` may be ``:memory:``."""

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="idk-store")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file and bring its tables up to date; nothing where that is done."""
        if self._connection is None:
            await self._call(self._open)

    async def read(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Given], Found],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Found:
        """Run ``work`` on one consistent state."""
        return await self._call(lambda: work(self._open_connection, *args, **kwargs))

    async def write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Given], Found],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Found:
        """Run ``work`` in one transaction: all of it is on the disk when this returns, or nothing."""

        def transaction() -> Found:
            connection = self._open_connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection, *args, **kwargs)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
            return found

        return await self._call(transaction)

    async def aclose(self) -> None:
        """Close the connection and end the thread."""
        if self._connection is not None:
            await self._call(self._connection.close)
            self._connection = None
        self._executor.shutdown(wait=False)

    async def _call(self, work: Callable[[], Found]) -> Found:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except sqlite3.Error as exc:
            raise StoreError(f"{self._name}: {exc}") from exc

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._name}: is not open")
        return self._connection

    def _open(self) -> None:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=128
        )
        try:
            # A killed process loses nothing that WAL has; what a power failure leaves takes FULL.
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
        if done > len(STEPS):
            connection.rollback()
            raise StoreError(
                f"{self._name}: was written by a later version (step {done}, this one knows {len(STEPS)})"
            )
        for step in STEPS[done:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        connection.execute("COMMIT")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn to WAL. SQLite never waits for this lock, lest two that turn at once wait for each other for ever
    (sqlite.org/c3ref/busy_handler.html): the one refused lets its own lock go and tries again.
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
