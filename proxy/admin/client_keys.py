"""Client keys on the page: keys of the file and of the store; those of the store are created and revoked here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.schema import ClientKey, ClientKeys, MadeKey
from proxy.clients import keys
from proxy.exceptions import BadRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.admin.schema import MakeKey
    from proxy.config import Config, Key
    from proxy.storage import Store


async def listed(store: Store, config: Config) -> ClientKeys:
    """Return the keys of the file, then those of the store by name, revoked ones included."""
    stored = await keys.listed(store)
    return ClientKeys(
        required=bool(config.keys) or config.server.stored_keys,
        keys=[*map(_of_file, config.keys), *map(_of_store, stored)],
    )


async def make(store: Store, config: Config, routes: Collection[str], asked: MakeKey, now: float) -> MadeKey:
    """Create a key; raises BadRequest, and StoreRefused where the name is taken."""
    for name in asked.routes or ():
        if name not in routes:
            raise BadRequest(
                f"routes: `{name}` is not a route; the routes are {', '.join(routes)}", param="routes"
            )
    made = await keys.create(
        store,
        asked.name,
        asked.who,
        now,
        taken=[key.name for key in config.keys],
        routes=None if asked.routes is None else tuple(dict.fromkeys(asked.routes)),
        requests_per_minute=asked.requests_per_minute,
        tokens_per_minute=asked.tokens_per_minute,
    )
    return MadeKey(key=_of_store(keys.Listed(made.key)), secret=made.secret)


def _of_file(key: Key) -> ClientKey:
    return ClientKey(
        name=key.name,
        source="file",
        routes=key.routes,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        who=None,
        at=None,
        last_used_at=None,
        revoked_at=None,
    )


def _of_store(listed: keys.Listed) -> ClientKey:
    key = listed.key
    return ClientKey(
        name=key.name,
        source="store",
        routes=key.routes,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        who=key.who,
        at=key.at,
        last_used_at=listed.used_at,
        revoked_at=key.revoked_at,
    )
