"""The SQLite file: deleted texts are gone, space is given back, the file is private, and reading changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from proxy.exceptions import StoreError
from proxy.storage import DecisionQuery, Sealer, StoredKey, make_store
from proxy.storage.sqlite.schema import MIGRATIONS
from tests.proxy.storage.making import decided, drawn, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proxy.storage import Store

URL = "sqlite:///idk.db"
MARKER = "a marker that occurs nowhere else"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = make_store(URL, tmp_path, Sealer(None))
    await made.open()
    yield made
    await made.aclose()


def files(folder: Path) -> list[Path]:
    """Return the files of the folder in the order of their names."""
    return sorted(folder.iterdir())


def all_bytes(folder: Path) -> bytes:
    """Return the content of the store and of its log."""
    return b"".join(path.read_bytes() for path in files(folder))


async def fill(store: Store, number: int, at: float = 1_000.0, text: str = MARKER) -> None:
    records = [decided(f"idk-{at}-{place}", at, question=text, answer=text) for place in range(number)]
    await store.add_decisions(records, [drawn(records[0])])


async def test_a_deleted_text_is_in_no_file(store: Store, tmp_path: Path) -> None:
    await fill(store, 700)
    await fill(store, 10, at=5_000.0, text="another text")
    assert MARKER.encode() in all_bytes(tmp_path)
    assert await store.retain(2_000.0, 1_000_000) == 700
    assert MARKER.encode() not in all_bytes(tmp_path)
    assert len((await store.decisions(DecisionQuery(limit=100))).items) == 10


async def test_deletion_gives_back_space(store: Store, tmp_path: Path) -> None:
    await fill(store, 2_000, text="x" * 2_000)
    await store.retain(0.0, 1_000_000)
    full = (tmp_path / "idk.db").stat().st_size
    assert await store.retain(2_000.0, 1_000_000) == 2_000
    assert (tmp_path / "idk.db").stat().st_size < full / 10
    assert (tmp_path / "idk.db-wal").stat().st_size == 0


async def test_deletion_by_number_spares_labels_and_audit_items(store: Store) -> None:
    await fill(store, 1_500)
    await store.add_label(said("idk-1000.0-7"))
    await fill(store, 10, at=2_000.0)
    assert await store.retain(0.0, 10) == 1_498
    kept = {record.id for record in (await store.decisions(DecisionQuery(limit=100))).items}
    assert {"idk-1000.0-0", "idk-1000.0-7"} <= kept
    assert len(kept) == 12


async def test_the_files_are_private(store: Store, tmp_path: Path) -> None:
    await fill(store, 1)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files(tmp_path)} == {
        "idk.db": "0o600", "idk.db-shm": "0o600", "idk.db-wal": "0o600",
    }  # fmt: skip


async def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "idk.db"
    path.touch()
    path.chmod(0o640)
    store = make_store(URL, tmp_path, Sealer(None))
    await store.open()
    await store.aclose()
    assert path.stat().st_mode & 0o777 == 0o640


def older(folder: Path, done: int = 3) -> StoredKey:
    """Create a store as an older version left it, with one key."""
    key = StoredKey(name="app", sha256="0" * 64, who="ada", at=1.0)
    with closing(sqlite3.connect(folder / "idk.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in (each for migration in MIGRATIONS[:done] for each in migration):
            connection.execute(statement)
        connection.execute("INSERT INTO keys VALUES (?, ?)", (key.name, msgspec.json.encode(key)))
        connection.execute(f"PRAGMA user_version = {done}")
        connection.commit()
    return key


async def test_reading_changes_no_byte_of_an_older_store(tmp_path: Path) -> None:
    key = older(tmp_path)
    before = (tmp_path / "idk.db").read_bytes()
    store = make_store(URL, tmp_path, Sealer(None), access="read")
    await store.open()
    assert (await store.keys(), await store.key_uses()) == ([key], {})
    assert (await store.policies(), await store.risks(), await store.revision()) == ([], [], 0)
    await store.aclose()
    assert (tmp_path / "idk.db").read_bytes() == before
    assert not any(path.suffix == ".bak" for path in files(tmp_path))


async def test_reading_a_missing_store_creates_none(tmp_path: Path) -> None:
    store = make_store("sqlite:///mistyped.db", tmp_path, Sealer(None), access="read")
    with pytest.raises(StoreError, match="there is no such file"):
        await store.open()
    await store.aclose()
    assert files(tmp_path) == []


@pytest.mark.parametrize("method", ["put_key", "retain"])
async def test_a_store_that_is_read_cannot_be_written(store: Store, tmp_path: Path, method: str) -> None:
    await fill(store, 1)
    reading = make_store(URL, tmp_path, Sealer(None), access="read")
    await reading.open()
    key = StoredKey(name="app", sha256="0" * 64, who="ada", at=1.0)
    with pytest.raises(StoreError, match="readonly"):
        await (reading.put_key(key) if method == "put_key" else reading.retain(2_000.0, 1))
    await reading.aclose()
    assert len(await store.decision("idk-1000.0-0")) == 1


async def test_reading_sees_what_another_process_writes(store: Store, tmp_path: Path) -> None:
    reading = make_store(URL, tmp_path, Sealer(None), access="read")
    await reading.open()
    await fill(store, 3)
    assert len((await reading.decisions(DecisionQuery())).items) == 3
    await reading.aclose()


async def test_a_writing_command_migrates_nothing(tmp_path: Path) -> None:
    older(tmp_path)
    before = (tmp_path / "idk.db").read_bytes()
    store = make_store(URL, tmp_path, Sealer(None), access="write")
    with pytest.raises(StoreError, match="run `idk store migrate`"):
        await store.open()
    await store.aclose()
    assert (tmp_path / "idk.db").read_bytes() == before


async def test_a_writing_command_creates_a_store(tmp_path: Path) -> None:
    store = make_store(URL, tmp_path, Sealer(None), access="write")
    await store.open()
    assert (await store.push_policy("p", {}, "ada", 1.0)).version == 1
    await store.aclose()


async def test_a_migration_makes_a_backup_that_the_older_version_can_open(tmp_path: Path) -> None:
    key = older(tmp_path)
    store = make_store(URL, tmp_path, Sealer(None))
    await store.open()
    assert await store.keys() == [key]
    await store.aclose()
    backup = tmp_path / "idk.db.schema-3.bak"
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("SELECT count(*) FROM keys").fetchone() == (1,)


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_removed_or_replaced_is_noticed_and_opened_again(
    store: Store, tmp_path: Path, replaced: bool
) -> None:
    await store.add_label(said("idk-1"))
    other = make_store("sqlite:///other.db", tmp_path, Sealer(None))
    await other.open()
    await other.aclose()
    for path in [each for each in files(tmp_path) if each.name.startswith("idk.db")]:
        path.unlink()
    if replaced:
        (tmp_path / "other.db").replace(tmp_path / "idk.db")
    for call in (store.add_label(said("idk-2")), store.labels("idk-2")):
        with pytest.raises(StoreError, match="removed or replaced"):
            await call
    assert await store.add_label(said("idk-2"))
    assert len(await store.labels("idk-2")) == 1
    assert (tmp_path / "idk.db").exists()
