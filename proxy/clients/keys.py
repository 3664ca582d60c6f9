"""Clients' keys in the store: made once, shown once, revoked for good."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from proxy.exceptions import StoreRefused
from proxy.storage import StoredKey

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.storage import Store

#: As in the configuration.
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.\-]{1,64}")


class Listed(NamedTuple):
    """A key, and when it was last used as far as replicas have told; None: never."""

    key: StoredKey
    used_at: float | None = None


class NewKey(NamedTuple):
    """A key that was just made; ``secret`` is kept nowhere."""

    key: StoredKey
    secret: str


async def create(
    store: Store,
    name: str,
    who: str,
    at: float,
    *,
    taken: Collection[str] = (),
    routes: tuple[str, ...] | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> NewKey:
    """Make and keep a key of 256 random bits; raises StoreRefused where the name cannot be had.

    ``taken`` are the names of the configuration's keys: one name for two keys would be one limit for both.
    """
    if _NAME.fullmatch(name) is None:
        raise StoreRefused(
            f"key: {name!r} is not a name; use 1 to 64 letters, digits, `_`, `-` and `.`, other than `.` and `..`"
        )
    if name in taken:
        raise StoreRefused(f"key: the name `{name}` is taken by a key of idk.yaml; choose another one")
    for limit in (requests_per_minute, tokens_per_minute):
        if limit is not None and limit < 1:
            raise StoreRefused("key: a limit is at least 1 a minute; leave it out for none")
    secret = f"idk-{secrets.token_urlsafe(32)}"
    key = StoredKey(
        name=name,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        who=who,
        at=at,
        routes=routes,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    if not await store.put_key(key):
        raise StoreRefused(f"key: the name `{name}` is taken, perhaps by a revoked key; choose another one")
    return NewKey(key, secret)


async def listed(store: Store) -> list[Listed]:
    """Return every key of the store, revoked ones included, sorted by name."""
    uses = await store.key_uses()
    return [Listed(key, uses.get(key.name)) for key in await store.keys()]


async def revoke(store: Store, name: str, at: float) -> None:
    """Let a key open nothing any more; raises StoreRefused where there is none that does."""
    if not await store.revoke_key(name, at):
        raise StoreRefused(
            f"key: there is no key `{name}` in the store that opens anything; `idk key list` names them"
        )
