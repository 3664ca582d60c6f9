"""Construction of stores by URL; ``SCHEMES`` has one line for each scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from urllib.parse import SplitResult

    from proxy.storage.access import Access
    from proxy.storage.sealing import Sealer
    from proxy.storage.store import Store

MEMORY_URL = "memory://"


def make_store(url: str, folder: Path, sealer: Sealer, access: Access = "serve") -> Store:
    """Return the store for ``url``, not yet opened; file paths are relative to ``folder``. Raises ConfigError.

    ``access`` limits what opening the store may change; see ``proxy.storage.access``.
    """
    try:
        parts = urlsplit(url)
        make = SCHEMES.get(parts.scheme)
        if make is not None and "@" not in parts.path and not parts.fragment:
            return make(parts, folder, sealer, access)
    except ConfigError as exc:
        raise ConfigError(f"store: {redacted(url)}: {exc}") from exc
    except ValueError:
        make = _memory  # no cause: the libraries' messages quote a part of the URL, which may be a password
    if make is not None:
        scheme = url.partition("://")[0]
        raise ConfigError(
            f"store: {scheme}://…: is not a valid URL; name a host, and percent-encode the password"
        )
    known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    raise ConfigError(f"store: {redacted(url)}: give one of {known}")


def redacted(url: str) -> str:
    """Return ``url`` without its user, password and query, which may contain another password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if separator else "the URL"


def _memory(_parts: SplitResult, _folder: Path, sealer: Sealer, _access: Access) -> Store:
    from proxy.storage.sqlite.opening import MEMORY
    from proxy.storage.sqlite.store import SqliteStore

    return SqliteStore(MEMORY, MEMORY_URL, sealer)


def _sqlite(parts: SplitResult, folder: Path, sealer: Sealer, access: Access) -> Store:
    """Return a SQLite store: ``sqlite:///idk.db`` is relative, ``sqlite:////var/lib/idk.db`` absolute (SQLAlchemy)."""
    from proxy.storage.sqlite.store import SqliteStore

    if parts.netloc or not parts.path.removeprefix("/"):
        raise ConfigError("give a file after three slashes, as sqlite:///idk.db")
    path = folder / parts.path.removeprefix("/")
    return SqliteStore(str(path), f"sqlite:///{path}", sealer, access)


def _redis(parts: SplitResult, _folder: Path, sealer: Sealer, _access: Access) -> Store:
    try:
        from proxy.storage.redis import CONNECTIONS, RedisStore
        from proxy.storage.redis.connect import PREFIX, options_of
    except ImportError as exc:
        raise ConfigError("the library for Redis is missing; pip install 'idk-proxy[redis]'") from exc
    prefix = options_of(parts).get("prefix", PREFIX)
    return RedisStore(CONNECTIONS[parts.scheme](parts), prefix, redacted(parts.geturl()), sealer)


#: The schemes that ``server.store`` and ``--store`` accept.
SCHEMES: Mapping[str, Callable[[SplitResult, Path, Sealer, Access], Store]] = {
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "redis+sentinel": _redis,
    "redis+cluster": _redis,
    "memory": _memory,
}
