"""Operations on the SQLite file of a store: information, migration, space, backup and restore."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError, StoreError
from proxy.storage.sqlite import maintenance
from proxy.storage.sqlite.opening import create_private, open_connection, schema_of
from proxy.storage.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.storage.access import Access


@dataclass(frozen=True, slots=True)
class FileInfo:
    """Sizes in bytes, numbers of entries, and the schema of a file."""

    bytes: int
    free_bytes: int
    log_bytes: int
    schema: int
    current_schema: int
    decisions: int
    labels: int
    audit_items: int


def read_info(path: Path) -> FileInfo:
    """Return what a file holds."""
    log = path.with_name(f"{path.name}-wal")
    with closing(_connection(path, "read")) as connection, _errors(path):
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        decisions, labels, audit_items = (
            int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - of constants
            for table in ("decisions", "labels", "audit")
        )
        return FileInfo(
            bytes=pages * size,
            free_bytes=free * size,
            log_bytes=log.stat().st_size if log.exists() else 0,
            schema=schema_of(connection, str(path)),
            current_schema=len(MIGRATIONS),
            decisions=decisions,
            labels=labels,
            audit_items=audit_items,
        )


def migrate(path: Path) -> tuple[int, int, Path | None]:
    """Update the schema of a file; return the old and the new schema, and the backup, None where none was needed."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file")
    with closing(_connection(path, "read")) as connection:
        before = schema_of(connection, str(path))
    _connection(path, "serve").close()
    backup = Path(f"{path}.schema-{before}.bak")
    return before, len(MIGRATIONS), backup if before < len(MIGRATIONS) else None


def vacuum(path: Path) -> tuple[int, int]:
    """Rewrite a file without free space; return its size before and after."""
    _check_store(path)
    before = path.stat().st_size
    with closing(_connection(path, "write")) as connection, _errors(path):
        maintenance.vacuum(connection)
    return before, path.stat().st_size


def back_up(path: Path, target: Path) -> None:
    """Write a complete copy of a file to the new file ``target``, while proxies use it."""
    _check_store(path)
    if target.exists():
        raise ConfigError(f"{target}: exists; name a new file")
    create_private(str(target), str(target))
    try:
        with closing(_connection(path, "read")) as connection, _errors(path):
            maintenance.back_up(connection, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def restore(backup: Path, path: Path) -> None:
    """Put a backup in the place of a file, which must not exist; stop the proxies first."""
    _check_store(backup)
    for each in (path, path.with_name(f"{path.name}-wal")):
        if each.exists():
            raise ConfigError(f"{each}: exists; stop the proxies and move it away first")
    back_up(backup, path)
    with closing(sqlite3.connect(path)) as connection, _errors(path):
        (problem,) = connection.execute("PRAGMA integrity_check").fetchone()
    if problem != "ok":
        path.unlink()
        raise StoreError(f"{backup}: is damaged: {problem}")


def _check_store(path: Path) -> None:
    """Raise StoreError where the file is missing or holds no store."""
    _connection(path, "read").close()


def _connection(path: Path, access: Access) -> sqlite3.Connection:
    with _errors(path):
        return open_connection(str(path), str(path), access)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(f"{path}: {exc}") from exc
