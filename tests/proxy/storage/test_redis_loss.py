"""What Redis may lose: an eviction policy that is refused, records that were evicted, and counts that are deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.exceptions import StoreError
from proxy.storage import Sealer, StoredKey, make_store
from tests.proxy.storage.making import decided, drawn, risk, said
from tests.proxy.storage.redis_servers import alone, three_nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from proxy.storage import Store
    from tests.proxy.storage.redis_servers import Server

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with alone(tmp_path_factory.mktemp("redis") / "one") as running:
        yield running


@pytest.fixture
async def store(server: Server, tmp_path: Path) -> AsyncIterator[Store]:
    with server.client() as client:
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
    made = make_store(f"redis://127.0.0.1:{server.port}/0", tmp_path, Sealer(None))
    await made.open()
    yield made
    await made.aclose()


def lose(server: Server, name: str) -> None:
    """Delete one key of the store, as an eviction does."""
    with server.client() as client:
        assert client.delete(f"{{idk}}:{name}") == 1


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_server_that_evicts_any_key_is_refused(server: Server, tmp_path: Path, policy: str) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", policy)
    store = make_store(f"redis://127.0.0.1:{server.port}/0", tmp_path, Sealer(None))
    with pytest.raises(StoreError, match=f"maxmemory-policy is {policy}.*set it to noeviction"):
        await store.open()
    await store.aclose()


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
async def test_a_server_that_keeps_what_has_no_time_to_live_is_accepted(
    server: Server, tmp_path: Path, policy: str
) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", policy)
    store = make_store(f"redis://127.0.0.1:{server.port}/0", tmp_path, Sealer(None))
    await store.open()
    await store.aclose()


async def test_every_node_of_a_cluster_is_asked(tmp_path: Path) -> None:
    with three_nodes(tmp_path / "cluster", "--maxmemory-policy", "allkeys-lru") as made:
        store = make_store(made.url, tmp_path, Sealer(None))
        with pytest.raises(StoreError, match="set it to noeviction"):
            await store.open()
        await store.aclose()


@pytest.mark.parametrize("lost", ["keys", "revoked"])
async def test_a_revoked_key_stays_revoked_whichever_record_is_lost(
    store: Store, server: Server, lost: str
) -> None:
    key = StoredKey(name="app", sha256="0" * 64, who="ada", at=1.0)
    assert await store.put_key(key)
    assert await store.revoke_key("app", 2.0)
    lose(server, lost)
    assert all(each.revoked_at == 2.0 for each in await store.keys())
    assert not await store.put_key(key)


@pytest.mark.parametrize("lost", ["risks", "alarms", "risk_revisions"])
@pytest.mark.parametrize("field", ["alarm", "drifted"])
async def test_a_revoked_certificate_stays_revoked_whichever_record_is_lost(
    store: Store, server: Server, lost: str, field: str
) -> None:
    assert await store.put_risk(risk(**{field: True}))
    lose(server, lost)
    state = await store.risk("support")
    assert state is not None
    assert (state.policy, getattr(state, field)) == ("support@1", True)
    assert [getattr(each, field) for each in await store.risks()] == [True]


async def test_a_new_version_starts_without_the_old_ones_alarm(store: Store) -> None:
    assert await store.put_risk(risk(alarm=True))
    assert await store.put_risk(risk(revision=2))
    state = await store.risk("support")
    assert state is not None
    assert not state.alarm


async def test_the_number_of_keys_is_flat_over_a_year(store: Store, server: Server) -> None:
    """A year of four decisions a day, each with a label and an audit item, and retention of a week."""
    sizes = []
    for day in range(365):
        now = 1_000_000 + day * DAY_S
        records = [
            decided(f"idk-{day}-{hour}", now + hour * 3_600, completion_id=f"c{day}-{hour}")
            for hour in range(4)
        ]
        await store.add_decisions(records, [drawn(records[0])])
        await store.add_label(said(records[1].id, label="incorrect", source="feedback", at=now))
        await store.spend(f"key-{day}", 1, 10, now)
        await store.retain(now - 7 * DAY_S, 1_000)
        if day % 30 == 29:
            with server.client() as client:
                names = [
                    name for name in client.scan_iter() if b":spent:" not in name
                ]  # those expire in a minute
                sizes.append((len(names), sum(_length(client, name) for name in names)))
    assert sizes[-1] == sizes[0]
    assert [count for count, _ in sizes] == [sizes[0][0]] * len(sizes)


def _length(client, name: bytes) -> int:
    """Return the number of entries of one key, but not of the tally, which counts forever."""
    lengths = {b"hash": client.hlen, b"zset": client.zcard, b"set": client.scard, b"string": lambda _: 1}
    return int(lengths[client.type(name)](name))
