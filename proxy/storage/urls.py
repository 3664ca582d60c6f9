"""Construction of stores by URL; ``SCHEMES`` has one line for each scheme."""

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
    """Return the store for ``url``, not yet opened; file paths are relative to ``folder``. Raises ConfigError."""
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
    """Return ``url`` without its user, password and query, which may contain another password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if separator else "the URL"


def _memory(_parts: SplitResult, _folder: Path, sealer: Sealer) -> Store:
    from proxy.storage.sqlite.connection import MEMORY
    from proxy.storage.sqlite.store import SqliteStore

    return SqliteStore(MEMORY, MEMORY_URL, sealer)


def _sqlite(parts: SplitResult, folder: Path, sealer: Sealer) -> Store:
    """Return a SQLite store: ``sqlite:///idk.db`` is relative, ``sqlite:////var/lib/idk.db`` absolute (SQLAlchemy)."""
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
        raise ConfigError("store: the library for Redis is missing; pip install 'idk-proxy[redis]'") from exc
    prefix = options_of(parts).get("prefix", PREFIX)
    return RedisStore(CONNECTIONS[parts.scheme](parts), prefix, redacted(parts.geturl()), sealer)


#: The schemes that ``server.store`` and ``--store`` accept.
SCHEMES: Mapping[str, Callable[[SplitResult, Path, Sealer], Store]] = {
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "redis+sentinel": _redis,
    "redis+cluster": _redis,
    "memory": _memory,
}
