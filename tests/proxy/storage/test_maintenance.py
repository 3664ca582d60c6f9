"""Maintenance: information, migration, space, backup, restore, and copies between SQLite and Redis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.exceptions import ConfigError, StoreError, StoreRefused
from proxy.storage import DecisionQuery, Sealer, StoredKey, make_store
from proxy.storage.maintenance import back_up, copy, info, migrate, restore, sqlite_file, vacuum
from tests.proxy.storage.making import SECRET, decided, drawn, risk, said
from tests.proxy.storage.redis_servers import alone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.storage import Store


async def opened(url: str, folder: Path) -> Store:
    store = make_store(url, folder, Sealer(SECRET))
    await store.open()
    return store


async def fill(store: Store) -> None:
    """Write some of everything, with more decisions than one page of a copy."""
    for version in range(3):
        await store.push_policy("support", {"threshold": version}, "ada", 10.0 + version)
    await store.roll_back("support", 2, "bo", 20.0)
    records = [decided(f"idk-{n}", 100.0 + n, question="q", answer="a") for n in range(700)]
    await store.add_decisions(records, [drawn(record) for record in records[::10]])
    for n in (3, 10, 20):
        await store.add_label(said(f"idk-{n}", source="audit" if n % 10 == 0 else "feedback"))
    await store.put_risk(risk(alarm=True))
    for name in ("app", "old"):
        await store.put_key(StoredKey(name=name, sha256=name[0] * 64, who="ada", at=1.0))
    await store.revoke_key("old", 5.0)
    await store.note_key_uses({"app": 7.0})


async def content(store: Store) -> dict[str, object]:
    """Return everything that a store holds."""
    labelled = await store.labelled("support")
    return {
        "policies": await store.policies(),
        "history": await store.history("support"),
        "decisions": (await store.decisions(DecisionQuery(limit=1_000))).items,
        "audit": [
            (item.decision, item.answer, label) for item, label in await store.audit("support", limit=1_000)
        ],
        "labels": sorted((each.label.id, each.label.source, each.label.label) for each in labelled),
        "risks": [(state.route, state.policy, state.alarm) for state in await store.risks()],
        "keys": await store.keys(),
        "uses": await store.key_uses(),
        "tally": await store.tally("support", "support@1"),
    }


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await opened("sqlite:///idk.db", tmp_path)
    await fill(made)
    yield made
    await made.aclose()


async def test_a_backup_of_a_store_in_use_is_complete_and_restores(store: Store, tmp_path: Path) -> None:
    back_up(tmp_path / "idk.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    await store.add_label(said("idk-30"))  # after the backup
    restore(tmp_path / "copy.db", tmp_path / "restored.db")
    restored = await opened("sqlite:///restored.db", tmp_path)
    assert len(await restored.labelled("support")) == 3
    await store.remove_label("idk-30", 0, "audit")
    assert await content(restored) == await content(store)
    await restored.aclose()


async def test_nothing_is_overwritten(store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(ConfigError, match="exists; name a new file"):
        back_up(tmp_path / "idk.db", tmp_path / "there")
    with pytest.raises(ConfigError, match="stop the proxies"):
        restore(tmp_path / "idk.db", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "hello " * 1_000, ""])
def test_what_is_no_store_is_refused_and_stays(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_text(content)
    for call in (
        lambda: back_up(path, tmp_path / "out"),
        lambda: restore(path, tmp_path / "out"),
        lambda: vacuum(path),
    ):
        with pytest.raises(StoreError):
            call()
    assert not (tmp_path / "out").exists()
    assert content is None or path.read_text() == content


async def test_vacuum_gives_back_space(store: Store, tmp_path: Path) -> None:
    await store.add_decisions([decided(f"x{n}", 1.0, question="x" * 2_000) for n in range(2_000)], [])
    await store.retain(0.0, 10)
    before, after = vacuum(tmp_path / "idk.db")
    assert after <= before
    found = await info(store, tmp_path / "idk.db")
    assert found.file is not None
    assert found.file.free_bytes == 0
    assert (found.policies, found.keys, found.routes) == (3, 2, 1)
    assert (found.file.labels, found.file.audit_items) == (3, 70)


async def test_a_current_schema_needs_no_migration(store: Store, tmp_path: Path) -> None:
    before, after, backup = migrate(tmp_path / "idk.db")
    assert before == after
    assert backup is None
    with pytest.raises(StoreError, match="no such file"):
        migrate(tmp_path / "mistyped.db")


@pytest.mark.parametrize(("url", "file"), [
    ("sqlite:///a.db", "/folder/a.db"), ("sqlite:////var/a.db", "/var/a.db"), ("redis://h/0", None),
    ("redis://[", None),
])  # fmt: skip
def test_the_file_of_a_url(url: str, file: str | None) -> None:
    assert sqlite_file(url, Path("/folder")) == (None if file is None else Path(file))


async def test_a_copy_to_redis_and_back_keeps_everything(store: Store, tmp_path: Path) -> None:
    expected = await content(store)
    with alone(tmp_path / "redis") as server:
        shared = await opened(f"redis://127.0.0.1:{server.port}/0", tmp_path)
        copied = await copy(store, shared)
        assert (copied.policies, copied.keys, copied.decisions, copied.labels, copied.audit_items) == (
            3,
            2,
            700,
            3,
            70,
        )
        assert await content(shared) == expected
        back = await opened("sqlite:///back.db", tmp_path)
        await copy(shared, back)
        assert await content(back) == expected
        with pytest.raises(StoreRefused, match="is not empty"):
            await copy(store, shared)
        await shared.aclose()
        await back.aclose()
