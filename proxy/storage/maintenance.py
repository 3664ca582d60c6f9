"""Maintenance of stores for the command line: information, space, backup, restore, migration and copies.

Backups and restores are for SQLite. Redis makes its own (``BGSAVE``, append-only files); ``copy`` moves a store between
the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from proxy.exceptions import StoreRefused
from proxy.storage.sqlite.files import FileInfo, back_up, migrate, read_info, restore, vacuum
from proxy.storage.types import DecisionQuery

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.storage.store import Store

__all__ = [
    "Copied", "FileInfo", "StoreInfo", "back_up", "copy", "info", "migrate", "restore", "sqlite_file", "vacuum",
]  # fmt: skip

#: Items that are copied in one step.
_PAGE = 500
#: More labels than any store holds.
_ALL_LABELS = 10**9


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds; ``file`` describes a SQLite file, None for other stores."""

    name: str
    policies: int
    keys: int
    routes: int
    revision: int
    file: FileInfo | None


@dataclass(frozen=True, slots=True)
class Copied:
    """The numbers of items that ``copy`` wrote."""

    policies: int
    keys: int
    decisions: int
    labels: int
    audit_items: int
    routes: int


def sqlite_file(url: str, folder: Path) -> Path | None:
    """Return the file of a ``sqlite:///`` URL; None for other stores."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return folder / parts.path.removeprefix("/") if parts.scheme == "sqlite" else None


async def info(store: Store, path: Path | None) -> StoreInfo:
    """Return what an open store holds; ``path`` is its file, or None."""
    return StoreInfo(
        name=store.name,
        policies=len(await store.policies()),
        keys=len(await store.keys()),
        routes=len(await store.risks()),
        revision=await store.revision(),
        file=None if path is None else read_info(path),
    )


async def copy(source: Store, target: Store) -> Copied:
    """Copy everything but rate limits from one open store to another, which must be empty.

    The counts of answers per policy version are counted anew from the copied decisions.
    """
    if (
        await target.policies()
        or await target.keys()
        or (await target.decisions(DecisionQuery(limit=1))).items
    ):
        raise StoreRefused(f"{target.name}: is not empty; copy into a new store")
    policies = await _copy_policies(source, target)
    for key in await source.keys():
        await target.put_key(msgspec.structs.replace(key, revoked_at=None))
        if key.revoked_at is not None:
            await target.revoke_key(key.name, key.revoked_at)
    await target.note_key_uses(await source.key_uses())
    decisions, routes = await _copy_decisions(source, target)
    audit_items = labels = 0
    for route in sorted(routes):
        after = 0
        while items := await source.audit(route, after=after, limit=_PAGE):
            await target.add_decisions([], [item for item, _ in items])
            after, audit_items = items[-1][0].place, audit_items + len(items)
        for each in await source.labelled(route, limit=_ALL_LABELS):
            labels += await target.add_label(each.label)
    for state in await source.risks():
        await target.put_risk(msgspec.structs.replace(state, revision=1))
    return Copied(policies, len(await source.keys()), decisions, labels, audit_items, len(routes))


async def _copy_policies(source: Store, target: Store) -> int:
    stored = {(each.name, each.version): each for each in await source.policies()}
    for name in sorted({name for name, _ in stored}):
        for change in reversed(await source.history(name)):
            if change.action == "push":
                policy = stored[name, change.version].policy
                await target.push_policy(name, policy, change.who, change.at)
            else:
                await target.roll_back(name, change.version, change.who, change.at)
    return len(stored)


async def _copy_decisions(source: Store, target: Store) -> tuple[int, set[str]]:
    number, cursor = 0, None
    routes = {state.route for state in await source.risks()}
    while True:
        page = await source.decisions(DecisionQuery(limit=_PAGE, cursor=cursor))
        await target.add_decisions(page.items, [])
        number += len(page.items)
        routes |= {record.route for record in page.items}
        cursor = page.cursor
        if cursor is None:
            return number, routes
