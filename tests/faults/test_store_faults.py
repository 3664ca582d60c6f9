"""The store is down, stopped, full, emptied, locked or noise: answers stay right, as fast as before, and it heals."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from proxy.exceptions import StoreError
from proxy.storage import DecisionQuery, Sealer, make_store
from tests.e2e.proxies import Proxy, enforced, route, write_config
from tests.fakes import answer, says
from tests.faults.process import Process
from tests.faults.stores import FAULTS
from tests.faults.upstreams import SECRET
from tests.faults.ways import MODES, SURFACES, Way, outcome_class, withheld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes import FakeUpstream

SURE = answer(says("Par", "is", logprob=-0.01))
UNSURE = answer(says(*SECRET, logprob=-3.0))
#: A key whose limits are counted in the store, and never reached.
KEY = "app"
#: What the store may add to an answer, and requests of each measurement.
MOST_S, REQUESTS = 0.005, 30
#: The least of so many: other work on the machine only adds.
ROUNDS = 2


def added_s(traffic: Traffic, usual: Traffic) -> float:
    """Return the median additional time of a request; alternates, so that load affects both measurements."""
    pairs = [(traffic.asks(number), usual.asks(number)) for number in range(REQUESTS)]
    return median(one for one, _ in pairs) - median(other for _, other in pairs)


def config_of(upstream: FakeUpstream, url: str) -> dict[str, Any]:
    limits = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9}
    return {
        "server": {"store": url},
        "keys": [{"name": KEY, "sha256": hashlib.sha256(KEY.encode()).hexdigest(), **limits}],
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0, "formats": ["chat"]}},
        "routes": [enforced("enforce"), route("observe", scorers=["mean_logprob"])],
    }


class Traffic:
    """Sure and unsure answers in turn through one connection, whole and streamed on each surface, each looked at."""

    def __init__(self, proxy: Proxy, upstream: FakeUpstream) -> None:
        self._url = proxy.url
        self._prompts = (upstream.script(SURE), upstream.script(UNSURE))
        self._client = httpx.Client(headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=10)
        self.seen: list[str] = []

    def asks(self, number: int) -> float:
        """Send one request in each mode and return the seconds; raises AssertionError for a wrong answer."""
        sure = number % 2 == 0
        began = time.perf_counter()
        for mode in MODES:
            way = Way(SURFACES[number // 2 % 2], streamed=number // 4 % 2 == 1, mode=mode)
            got = self._client.post(self._url + way.path, json=way.asks(self._prompts[number % 2]))
            assert got.status_code == 200, got.text
            said = way.said(got)
            assert said == ("Paris" if sure else way.unsure())
            if mode == "enforce" and not sure:
                withheld(got, said, "store")
            self.seen.append(outcome_class(got, said))
        return (time.perf_counter() - began) / len(MODES)

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def usual(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """Through a proxy whose store is its own memory."""
    folder = tmp_path_factory.mktemp("memory")
    path = write_config(folder, config_of(upstream, "memory://"))
    with Proxy("--config", path, cwd=folder) as proxy, closing(Traffic(proxy, upstream)) as traffic:
        yield traffic


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_store(name, upstream, usual, tmp_path, tasks, record):
    fault = FAULTS[name]
    with fault.harm(tmp_path) as harm:
        path = write_config(tmp_path, config_of(upstream, harm.url))
        if not fault.runs_before:
            harm.begin(0)
        with (
            Proxy("--config", path, cwd=tmp_path, env=tasks.environ) as proxy,
            closing(Traffic(proxy, upstream)) as traffic,
        ):
            process = Process(proxy.pid)
            added_s(traffic, usual)
            waiting = tasks.at_rest(proxy.pid)
            if fault.runs_before:
                assert process.settles(lambda: _recorded(tmp_path, harm.url) > 0)
                harm.begin(proxy.pid)
            descriptors = process.descriptors()
            added = min(added_s(traffic, usual) for _ in range(ROUNDS))
            assert added < MOST_S
            if fault.fails:
                assert process.settles(lambda: proxy.metric_sum("idk_store_errors_total") > 0)
                traffic.asks(1)
            harm.end(proxy.pid)
            if fault.heals:
                before = _recorded(tmp_path, harm.url)
                traffic.asks(1)
                assert process.settles(lambda: _recorded(tmp_path, harm.url) > before), proxy.log
            assert process.settles(lambda: process.descriptors() <= descriptors + 6), process.descriptors()
            assert process.settles(lambda: tasks.at_rest(proxy.pid) == waiting), (
                tasks.at_rest(proxy.pid),
                waiting,
            )
            for each in traffic.seen:
                record.add(f"store: {name} (adds {max(0.0, added) * 1e3:.1f} ms at the median)", each)


def _recorded(folder: Path, url: str) -> int:
    """Return the number of decisions in the store; -1 where the store does not respond."""

    async def found() -> int:
        store = make_store(url, folder, Sealer(None))
        try:
            await store.open()
            return len((await store.decisions(DecisionQuery(limit=1_000))).items)
        except StoreError:
            return -1
        finally:
            await store.aclose()

    return asyncio.run(found())
