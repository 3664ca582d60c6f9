"""The embedded store: a SQLite file, or memory."""

from proxy.storage.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
