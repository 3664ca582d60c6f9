"""The embedded store: one file, or the process's own memory."""

from proxy.storage.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
