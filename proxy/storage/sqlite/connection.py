"""A SQLite connection in a dedicated thread, which runs one complete transaction at a time.

aiosqlite switches threads for every statement, so a transaction of several statements would stay open while the event
loop is busy. Here a transaction is one function and one switch.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from proxy.exceptions import StoreError
from proxy.storage.sqlite.opening import file_id, open_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.storage.access import Access

Params = ParamSpec("Params")
Result = TypeVar("Result")


class ConnectionThread:
    """A connection and its thread; ``path`` may be ``:memory:``.

    If the file is removed or replaced while it is open, the next transaction fails and the one after it opens the file
    anew: SQLite itself would go on writing to the removed file without an error.
    """

    def __init__(self, path: str, name: str, access: Access = "serve") -> None:
        self._path = path
        self._name = name
        self._access = access
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="idk-store")
        self._connection: sqlite3.Connection | None = None
        self._opened = False
        self._file: tuple[int, int] | None = None

    async def open(self) -> None:
        """Open the file, unless it is open."""
        if self._connection is None:
            await self._call(self._open)
            self._opened = True

    async def read(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Params], Result],
        *args: Params.args,
        **kwargs: Params.kwargs,
    ) -> Result:
        """Run ``work`` on the connection."""
        return await self._call(lambda: work(self._current(), *args, **kwargs))

    async def write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Params], Result],
        *args: Params.args,
        **kwargs: Params.kwargs,
    ) -> Result:
        """Run ``work`` in one transaction, which is on the disk when this returns; an exception rolls it back."""

        def transaction() -> Result:
            connection = self._current()
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
        self._opened = False
        if self._connection is not None:
            await self._call(self._connection.close)
            self._connection = None
        self._executor.shutdown(wait=False)

    async def _call(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except sqlite3.Error as exc:
            raise StoreError(f"{self._name}: {exc}") from exc

    def _current(self) -> sqlite3.Connection:
        """Return the open connection; raises StoreError where its file was removed or replaced."""
        if self._connection is None:
            if not self._opened:
                raise StoreError(f"{self._name}: the store is not open")
            self._open()
            return self._current()
        if self._file is not None and self._file != file_id(self._path):
            self._connection.close()
            self._connection = None
            raise StoreError(f"{self._name}: the file was removed or replaced; it is opened again")
        return self._connection

    def _open(self) -> None:
        self._connection = open_connection(self._path, self._name, self._access)
        self._file = file_id(self._path)
