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
        make = SCHEMES.get(parts.scheme)
        if make is not None:
            return make(parts, folder, sealer)
    except ValueError as exc:
        raise ConfigError(f"store: {redacted(url)}: {exc}") from exc
    known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    raise ConfigError(f"store: {redacted(url)}: give one of {known}")


def redacted(url: str) -> str:
    """Without its user, its password, and its query, where another password may stand."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if separator else "the URL"


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


def _redis(parts: SplitResult, _folder: Path, sealer: Sealer) -> Store:
    try:
        from proxy.storage.redis import CONNECTIONS, RedisStore
        from proxy.storage.redis.connect import PREFIX, options_of
    except ImportError as exc:
        raise ConfigError("store: Redis needs its library; pip install 'idk-proxy[redis]'") from exc
    prefix = options_of(parts).get("prefix", PREFIX)
    return RedisStore(CONNECTIONS[parts.scheme](parts), prefix, redacted(parts.geturl()), sealer)


#: What ``server.store`` and ``--store`` may begin with.
SCHEMES: Mapping[str, Callable[[SplitResult, Path, Sealer], Store]] = {
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "redis+sentinel": _redis,
    "redis+cluster": _redis,
    "memory": _memory,
}
