"""A store by its URL: one line in the table for each scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from urllib.parse import SplitResult

    from proxy.storage.sealing import Sealer
    from proxy.storage.store import Store

MEMORY_URL = "memory://"


def make_store(url: str, folder: Path, sealer: Sealer) -> Store:
    """The store, not opened yet; a file's path is relative to ``folder``. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        make = SCHEMES[parts.scheme]
        return make(parts, folder, sealer)
    except KeyError as exc:
        raise ConfigError(
            f"store: {redacted(url)}: give one of {', '.join(f'{s}://' for s in SCHEMES)}"
        ) from exc
    except ValueError as exc:
        raise ConfigError(f"store: {redacted(url)}: {exc}") from exc


def redacted(url: str) -> str:
    """Without its user and password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else "the URL"


def _memory(_parts: SplitResult, _folder: Path, sealer: Sealer) -> Store:
    from proxy.storage.sqlite.store import SqliteStore
    from proxy.storage.sqlite.thread import MEMORY

    return SqliteStore(MEMORY, MEMORY_URL, sealer)


def _sqlite(parts: SplitResult, folder: Path, sealer: Sealer) -> Store:
    """``sqlite:///idk.db`` is relative, ``sqlite:////var/lib/idk.db`` absolute, as SQLAlchemy has it."""
    from proxy.storage.sqlite.store import SqliteStore

    if parts.netloc or not parts.path.removeprefix("/"):
        raise ValueError("give a file after three slashes, as sqlite:///idk.db")
    path = folder / parts.path.removeprefix("/")
    return SqliteStore(str(path), f"sqlite:///{path}", sealer)


#: What ``server.store`` and ``--store`` may begin with.
SCHEMES: Mapping[str, Callable[[SplitResult, Path, Sealer], Store]] = {
    "sqlite": _sqlite,
    "memory": _memory,
}
