"""What is a backend's own: URLs, sealing, an older or a foreign file, a server that is not there."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import msgspec
import pytest

from proxy.exceptions import ConfigError, StoreError, StoreRefused
from proxy.storage import Sealer, StoredKey, make_store, sealer_of
from proxy.storage.redis.client import Client
from proxy.storage.sqlite.schema import MIGRATIONS
from tests.proxy.storage.making import SECRET, decided, drawn
from tests.proxy.storage.redis_servers import spare_ports


@pytest.mark.parametrize(("url", "said"), [
    ("idk.db", "store: the URL: give one of"), ("mysql://u:secret@h/x", "store: mysql://h/x: give one of"),
    ("sqlite://", "three slashes"), ("sqlite://idk.db", "three slashes"), ("redis+cluster://", "HOST:PORT"),
    ("redis+sentinel://h:1", "name the service"), ("redis+sentinel://h:port/m", "redis+sentinel://…: is not a valid"),
    ("redis://:secret/x@h:1/0", "is not a valid URL"), ("redis://:sec#ret@h/0", "is not a valid URL"),
    ("redis://:secret?x@h/0", "is not a valid URL"), ("redis://:secret:6379/0", "is not a valid URL"),
    ("redis://u:secret", "is not a valid URL"), ("redis://[secret/0", "is not a valid URL"),
    ("rediss://:sec/ret@h", "is not a valid URL"), ("redis+cluster://:sec/ret@h:1", "is not a valid URL"),
    ("redis:///0", "is not a valid URL"),
])  # fmt: skip
def test_a_wrong_url_is_one_clear_error(tmp_path, url, said):
    with pytest.raises(ConfigError) as raised:
        make_store(url, tmp_path, Sealer())
    assert said in str(raised.value)
    assert not any(word in str(raised.value) for word in ("secret", "sec", "ret@"))


async def test_a_file_is_relative_to_the_folder_or_absolute(tmp_path):
    for url, path in (
        ("sqlite:///a.db", tmp_path / "a.db"),
        (f"sqlite:///{tmp_path}/b.db", tmp_path / "b.db"),
    ):
        store = make_store(url, tmp_path / "elsewhere" if "b.db" in url else tmp_path, Sealer())
        await store.open()
        await store.aclose()
        assert path.exists()


async def test_every_redis_that_is_not_there_is_a_store_error(tmp_path):
    (port,) = spare_ports(1)
    for url in (f"redis://:secret@127.0.0.1:{port}/0", f"redis+sentinel://127.0.0.1:{port}/m",
                f"redis+cluster://127.0.0.1:{port}"):  # fmt: skip
        store = make_store(url, tmp_path, Sealer())
        with pytest.raises(StoreError) as raised:
            await store.open()
        assert "secret" not in str(raised.value)
        await store.aclose()


# SQLite


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
        AttributeError("'NoneType' object has no attribute 'writelines'"),
        IndexError("list index out of range"),
        ConnectionResetError(),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_whatever_a_client_of_redis_raises_the_store_has_failed(raised):
    """What waits is dropped where it is no StoreError: redis-py has these of connections lost while they are opened."""

    async def lost():
        raise raised

    with pytest.raises(StoreError, match="redis://nowhere"):
        await Client(None, "idk", "redis://nowhere", Sealer(None)).do(lost())


async def test_a_later_versions_file_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "idk.db")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    store = make_store("sqlite:///idk.db", tmp_path, Sealer())
    with pytest.raises(StoreError, match="written by a later version"):
        await store.open()
    await store.aclose()


async def test_an_older_versions_file_is_brought_up_to_date(tmp_path):
    """A migration keeps the keys, which have no time of use."""
    key = StoredKey(name="app", sha256="0" * 64, who="ada", at=1.0)
    with closing(sqlite3.connect(tmp_path / "idk.db")) as connection:
        for statement in (each for migration in MIGRATIONS[:3] for each in migration):
            connection.execute(statement)
        connection.execute("INSERT INTO keys VALUES (?, ?)", (key.name, msgspec.json.encode(key)))
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    store = make_store("sqlite:///idk.db", tmp_path, Sealer())
    await store.open()
    assert (await store.keys(), await store.key_uses()) == ([key], {})
    await store.note_key_uses({"app": 2.0})
    assert await store.key_uses() == {"app": 2.0}
    await store.aclose()


async def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "idk.db").write_text("hello " * 1000)
    store = make_store("sqlite:///idk.db", tmp_path, Sealer())
    with pytest.raises(StoreError, match="not a database"):
        await store.open()
    await store.aclose()


async def test_a_store_that_was_not_opened_says_so(tmp_path):
    store = make_store("sqlite:///idk.db", tmp_path, Sealer())
    with pytest.raises(StoreError, match="is not open"):
        await store.revision()
    await store.aclose()


@pytest.mark.parametrize("file", range(12))  # who asks for WAL while another does is chance: one file in five
async def test_several_processes_may_open_an_empty_file_at_once(tmp_path, file):
    stores = [make_store(f"sqlite:///{file}.db", tmp_path, Sealer()) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    pushed = await asyncio.gather(*(store.push_policy("p", {}, "ada", 1.0) for store in stores))
    assert sorted(each.version for each in pushed) == list(range(1, 9))
    await asyncio.gather(*(store.aclose() for store in stores))


async def test_a_file_that_stays_locked_is_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.storage.sqlite.opening.BUSY_S", 0.05)
    holder = sqlite3.connect(tmp_path / "idk.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="database is locked"):
        await make_store("sqlite:///idk.db", tmp_path, Sealer()).open()
    holder.close()


async def test_a_failed_transaction_leaves_nothing(tmp_path):
    store = make_store("sqlite:///idk.db", tmp_path, Sealer())
    await store.open()
    good = decided("a")
    with pytest.raises(AttributeError):
        await store.add_decisions([good, None], [])
    assert await store.decision("a") == []
    await store.add_decisions([good], [])
    assert await store.decision("a") == [good]
    await store.aclose()


# Sealing


def test_a_sealed_text_opens_with_its_key_alone():
    sealed = Sealer(SECRET).seal(b"the answer")
    assert b"the answer" not in sealed
    assert sealed != Sealer(SECRET).seal(b"the answer")
    assert Sealer(SECRET).open(sealed) == b"the answer"
    with pytest.raises(StoreRefused, match="sealed; set the environment variable"):
        Sealer().open(sealed)
    with pytest.raises(StoreRefused, match="a key other than"):
        Sealer(SECRET + "!").open(sealed)
    with pytest.raises(StoreRefused, match="a key other than"):
        Sealer(SECRET).open(sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_keys_rotate_the_first_seals_and_all_open():
    old, new = SECRET, f"{SECRET}, a newer one".replace(" ", "-").replace(",", "")
    sealed = sealer_of("K", {"K": old}).seal(b"the answer")
    both = sealer_of("K", {"K": f"{new},{old.replace(' ', '-')}"})
    assert Sealer(new, old).open(sealed) == b"the answer"
    assert Sealer(new).open(Sealer(new, old).seal(b"more")) == b"more"
    assert Sealer(new).open(both.seal(b"more")) == b"more"
    assert both.open(Sealer(old.replace(" ", "-")).seal(b"more")) == b"more"


def test_a_single_key_with_spaces_and_commas_is_no_list():
    assert Sealer(SECRET).open(sealer_of("K", {"K": SECRET}).seal(b"x")) == b"x"
    key = "one, two, three, four, five"
    assert Sealer(key).open(sealer_of("K", {"K": key}).seal(b"x")) == b"x"


def test_without_a_key_texts_are_readable_and_stay_so():
    kept = Sealer().seal(b"the answer")
    assert Sealer(SECRET).open(kept) == b"the answer"
    with pytest.raises(StoreError, match="an unknown form"):
        Sealer().open(b"??")


def test_the_key_comes_from_the_environment():
    assert sealer_of(None, {}).open(sealer_of("K", {}).seal(b"x")) == b"x"
    with pytest.raises(StoreRefused):
        sealer_of("K", {}).open(sealer_of("K", {"K": SECRET}).seal(b"x"))
    with pytest.raises(ConfigError, match="K holds fewer than 16 characters"):
        sealer_of("K", {"K": "short"})


async def test_a_listing_without_the_key_refuses_texts_and_nothing_else(tmp_path):
    with_key = make_store("sqlite:///idk.db", tmp_path, Sealer(SECRET))
    await with_key.open()
    await with_key.add_decisions([decided("a", question="Q?")], [drawn(decided("a"))])
    await with_key.add_decisions([decided("b")], [])
    await with_key.aclose()
    without = make_store("sqlite:///idk.db", tmp_path, Sealer())
    await without.open()
    assert [each.id for each in await without.decision("b")] == ["b"]
    for reading in (without.decision("a"), without.audit("support")):
        with pytest.raises(StoreRefused, match="sealed"):
            await reading
    await without.aclose()
