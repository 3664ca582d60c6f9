"""A network that is slow, thin, cuts, resets, half closes or swallows: before the upstream, and before the proxy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.e2e.proxies import Proxy, write_config
from tests.fakes import answer, says
from tests.faults.conftest import TIMEOUT_S, config_for
from tests.faults.network import NONE, FaultyNetwork, Toxic
from tests.faults.process import Process
from tests.faults.upstreams import SECRET
from tests.faults.ways import PLAINLY, WAYS, outcome_class, withheld

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import FakeUpstream
    from tests.faults.tasks import Tasks

#: An answer of some hundred bytes is carried; what harms less than the timeout must not be seen at all.
HARMLESS: Final = {
    "latency of 50 ms": Toxic(latency_s=0.05),
    "jitter of up to 100 ms": Toxic(jitter_s=0.1),
    "50 KB a second": Toxic(bytes_per_s=50_000),
    "the answer's end is closed early": Toxic(after=100_000, then="half"),
}
#: After the connection, in the head, in the body.
_PLACES: Final = (0, 30, 250)
HARMFUL: Final = {
    f"{then} after {after} bytes": Toxic(after=after, then=then)
    for then in ("reset", "cut", "half", "hole")
    for after in _PLACES
}
UNSURE: Final = answer(says(*SECRET, logprob=-3.0))
SURE: Final = answer(says("Par", "is", logprob=-0.01))
DEADLINE_S: Final = 2 * TIMEOUT_S + 5.0


@pytest.fixture(scope="module")
def network(upstream: FakeUpstream) -> Iterator[FaultyNetwork]:
    with FaultyNetwork(upstream.port) as between:
        yield between


@pytest.fixture(scope="module")
def behind(network: FaultyNetwork, tmp_path_factory: pytest.TempPathFactory, tasks: Tasks) -> Iterator[Proxy]:
    """A proxy whose upstream is behind the faulty network."""
    folder = tmp_path_factory.mktemp("behind")
    config = config_for(f"http://127.0.0.1:{network.port}/v1")
    with Proxy("--config", write_config(folder, config), cwd=folder, env=tasks.environ) as running:
        waiting = tasks.at_rest(running.pid)
        yield running
        assert tasks.at_rest(running.pid) == waiting


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_slow_is_not_seen(name, way, network, behind, upstream, record):
    network.toxic = HARMLESS[name]
    sure, unsure = upstream.script(SURE), upstream.script(UNSURE)
    for prompt, words in [(sure, "Paris"), (unsure, way.unsure())]:
        got = behind.post(way.asks(prompt), way.path)
        said = way.said(got)
        assert said == words
        record.add(f"upstream's network: {name}", outcome_class(got, said))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", HARMFUL)
def test_what_breaks_is_a_right_error_in_time(name, way, network, behind, upstream, record):
    network.toxic = HARMFUL[name]
    started = time.monotonic()
    got = behind.post(way.asks(upstream.script(UNSURE)), way.path)
    assert time.monotonic() - started < DEADLINE_S
    said = way.said(got)
    assert said.startswith("error")
    assert got.status_code in ({200, 502, 504} if way.streamed else {502, 504})
    if way.mode == "enforce":
        withheld(got, said, name)
    record.add(f"upstream's network: {name}", outcome_class(got, said))


def test_after_all_of_them_it_answers_and_holds_nothing(network, behind, upstream):
    network.toxic = NONE
    assert PLAINLY.said(behind.post(PLAINLY.asks(upstream.script(SURE)))) == "Paris"
    process = Process(behind.pid)
    # Listener, loop, and the few that are kept warm.
    assert process.settles(lambda: process.sockets() <= 8), process.sockets()


@pytest.fixture(scope="module")
def before(proxy: Proxy) -> Iterator[FaultyNetwork]:
    """The faulty network in front of the proxy."""
    with FaultyNetwork(int(proxy.url.rpartition(":")[2])) as between:
        yield between


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", [*HARMLESS, *HARMFUL])
def test_a_client_behind_a_bad_network(name, way, before, proxy, upstream, tasks, record):
    """Whatever the client gets of it holds no withheld word, and the proxy lets go of the connection."""
    before.toxic = {**HARMLESS, **HARMFUL}[name]
    process = Process(proxy.pid)
    at_rest, waiting = process.sockets(), tasks.at_rest(proxy.pid)
    received = b""
    try:
        with (
            httpx.Client(timeout=TIMEOUT_S) as client,
            client.stream(
                "POST",
                f"http://127.0.0.1:{before.port}{way.path}",
                json=way.asks(upstream.script(UNSURE)),
            ) as got,
        ):
            received += str(got.headers).encode()
            for piece in got.iter_raw():
                received += piece
        seen = "answer" if way.mode == "observe" else "I don't know"
    except httpx.TransportError as exc:
        seen = type(exc).__name__
    if way.mode == "enforce":
        for word in SECRET:
            assert word.encode() not in received
    assert process.settles(lambda: process.sockets() <= at_rest + 1), process.sockets()
    assert tasks.at_rest(proxy.pid) == waiting
    record.add(f"client's network: {name}", seen)
