"""Killed at random moments while it writes, the store loses no label that was acknowledged, and stays whole.

``make test-crash`` kills fifty times; here a few times stand for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.exceptions import StoreError
from proxy.storage import Label, Sealer, make_store
from tests.e2e.proxies import Proxy, asking, config_of, enforced, write_config
from tests.fakes import DEADLINE_S, answer, says
from tests.proxy.storage.making import decided
from tests.proxy.storage.redis_servers import Server, alone, wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from proxy.storage import Store
    from tests.fakes import FakeUpstream

KILLS = int(os.environ.get("IDK_CRASHES", "3"))
#: How many labels are acknowledged before a kill, at the most, and how much later it comes.
MOST_LABELS = 80
LONGEST_S = 0.05
WRITERS = 4
#: On a machine that is busy with other tests too.
PATIENCE_S = 6 * DEADLINE_S


class Acknowledged(dict[str, str]):
    """What was said of each id, and how often something was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._more = threading.Condition()

    def sure(self, id: str, word: str) -> None:  # noqa: A002
        """Record an acknowledged write."""
        self[id] = word
        with self._more:
            self._number += 1
            self._more.notify_all()

    def wait_for_some(self, chance: Random) -> None:
        """Wait until a random number of further writes were acknowledged, and a moment longer."""
        with self._more:
            least = self._number + chance.randint(1, MOST_LABELS)
            assert self._more.wait_for(lambda: self._number >= least, PATIENCE_S), "nothing is acknowledged"
        threading.Event().wait(chance.uniform(0, LONGEST_S))


def stored(folder: Path, url: str, call: Callable[[Store], Awaitable[Any]]) -> Any:
    """Open the store again and return the result of ``call``."""

    async def run() -> Any:
        store = make_store(url, folder, Sealer())
        await store.open()
        try:
            return await call(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


async def labels_of(store: Store, route: str) -> dict[str, str]:
    return {each.label.id: each.label.label for each in await store.labelled(route, limit=1_000_000)}


def answer_some(proxy: Proxy, upstream: FakeUpstream, number: int) -> list[str]:
    """Ask; gives the ids."""
    prompt = upstream.script(answer(says("Paris")))
    with httpx.Client() as client:
        url = f"{proxy.url}/v1/chat/completions"
        return [client.post(url, json=asking("r", prompt)).headers["x-request-id"] for _ in range(number)]


def label_until_killed(proxy: Proxy, ids: list[str], acknowledged: Acknowledged) -> None:
    """Send labels, now the one word and now the other, and note which were acknowledged."""
    words = ("correct", "incorrect")
    try:
        with httpx.Client(timeout=10) as client:
            for turn in range(1_000_000):
                id_, word = ids[turn % len(ids)], words[turn // len(ids) % 2]
                # A write in progress may or may not be kept; until its answer is known, both are allowed.
                acknowledged[id_] += "?" + word
                response = client.post(f"{proxy.url}/v1/feedback", json={"id": id_, "label": word})
                if response.status_code == 200:
                    acknowledged.sure(id_, word)
    except httpx.TransportError:
        return


def test_a_killed_proxy_loses_no_acknowledged_label(tmp_path: Path, upstream: FakeUpstream):
    chance = Random(7)
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0)))
    acknowledged = Acknowledged()
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in range(KILLS):
            with Proxy("--config", path, cwd=tmp_path) as proxy:
                ids = answer_some(proxy, upstream, 8 * WRITERS)
                acknowledged.update(dict.fromkeys(ids, ""))
                writing = [
                    pool.submit(label_until_killed, proxy, ids[place::WRITERS], acknowledged)
                    for place in range(WRITERS)
                ]
                acknowledged.wait_for_some(chance)
                proxy.signal(signal.SIGKILL)
                for each in writing:
                    each.result()
            kept = stored(tmp_path, "sqlite:///idk.db", lambda store: labels_of(store, "r"))
            for id_, word in acknowledged.items():
                assert kept.get(id_, "") in word.split("?"), (id_, word)
    with sqlite3.connect(tmp_path / "idk.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def write_until_killed(url: str, folder: Path, round_: int, acknowledged: Acknowledged) -> int:
    """Policies, decisions and labels, until the store is gone; gives the last version that was acknowledged."""
    store = make_store(url, folder, Sealer())
    version = 0
    try:
        await store.open()
        for turn in range(1_000_000):
            record = decided(f"idk-{round_}-{turn}")
            await store.add_decisions([record], [])
            acknowledged[record.id] = "?correct"
            await store.add_label(Label(id=record.id, choice=0, label="correct", source="audit", at=1.0))
            acknowledged.sure(record.id, "correct")
            version = (await store.push_policy("support", {"turn": turn}, "ada", 1.0)).version
    except StoreError:
        return version
    finally:
        with suppress(StoreError):
            await store.aclose()
    return version


def test_a_killed_redis_loses_no_acknowledged_label(tmp_path: Path):
    """Use ``appendfsync always``: with ``everysec`` Redis answers before it writes while an fsync is in progress."""
    chance = Random(7)
    acknowledged = Acknowledged()
    # The server ends first whatever happens, and the writer by it.
    with (
        ThreadPoolExecutor(1) as pool,
        alone(tmp_path / "redis", "--appendfsync", "always") as server,
    ):
        url = f"redis://127.0.0.1:{server.port}/0"
        for round_ in range(KILLS):
            writing = pool.submit(
                lambda n=round_: asyncio.run(write_until_killed(url, tmp_path, n, acknowledged))
            )
            acknowledged.wait_for_some(chance)
            server.kill()
            version = writing.result()
            _restart(server)
            kept = stored(tmp_path, url, lambda store: labels_of(store, "support"))
            for id_, word in acknowledged.items():
                assert kept.get(id_, "") in word.split("?"), (id_, word)
            versions = [
                each.version for each in stored(tmp_path, url, lambda store: store.policies("support"))
            ]
            assert versions == list(range(len(versions), 0, -1))
            assert version <= len(versions)


def _restart(server: Server) -> None:
    server.start()
    wait_for(server.answers, "redis-server does not start again")


@pytest.mark.parametrize("moment", ["begin", "commit"])
def test_a_half_written_transaction_leaves_nothing(tmp_path: Path, moment: str):
    """The file as a kill between two statements leaves it."""
    stored(tmp_path, "sqlite:///idk.db", lambda store: store.push_policy("support", {}, "ada", 1.0))
    connection = sqlite3.connect(tmp_path / "idk.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO policies VALUES ('support', 2, '{}', 'bob', 2.0)")
    if moment == "commit":
        connection.execute("COMMIT")
    connection.close()
    found = stored(tmp_path, "sqlite:///idk.db", lambda store: store.policy("support"))
    assert (found.version, found.in_force) == (1, True)
    pushed = stored(tmp_path, "sqlite:///idk.db", lambda store: store.push_policy("support", {}, "ada", 3.0))
    assert pushed.version == (3 if moment == "commit" else 2)
