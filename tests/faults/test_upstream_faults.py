"""Each fault of an upstream, whole and streamed, enforced and observed: a right answer or a right error, in time."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.fakes import answer, says
from tests.faults.conftest import TIMEOUT_S
from tests.faults.process import Process
from tests.faults.upstreams import FAULTS, SECRET, Fault
from tests.faults.ways import PLAINLY, UNREAD, WAYS, outcome_class, withheld

if TYPE_CHECKING:
    from tests.e2e.proxies import Proxy
    from tests.fakes import FakeUpstream
    from tests.faults.tasks import Tasks

#: The upstream's own time, once more for a retry without logprobs, and room on a busy machine.
DEADLINE_S = 2 * TIMEOUT_S + 3.0
#: Faults that take no time, often enough that what one of them leaves behind adds up.
SOON = tuple(name for name in FAULTS if not name.startswith("stalls"))
ROUNDS = 8
#: The interpreter's own unevenness; three kilobytes for each request of half the rounds would be as much.
GROWTH_MB = 3.0


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(proxy: Proxy, upstream: FakeUpstream, tasks: Tasks):
    """After all faults the process is as it was: its sockets, its tasks, and it answers."""
    sure = upstream.script(answer(says("Par", "is")))
    assert PLAINLY.said(proxy.post(PLAINLY.asks(sure))) == "Paris"
    process = Process(proxy.pid)
    sockets, waiting = process.sockets(), tasks.at_rest(proxy.pid)
    yield
    assert PLAINLY.said(proxy.post(PLAINLY.asks(sure))) == "Paris"
    # One connection of ours and those that it keeps warm to the upstream may be there.
    assert process.settles(lambda: process.sockets() <= sockets + 2), process.sockets()
    assert tasks.at_rest(proxy.pid) == waiting


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_upstream(name, way, proxy, upstream, record):
    fault = FAULTS[name]
    prompt = upstream.script(fault.reply)
    errors = proxy.metric_sum("idk_upstream_errors_total", upstream="fake")
    started = time.monotonic()
    got = proxy.post(way.asks(prompt), way.path)
    took = time.monotonic() - started
    assert took < DEADLINE_S
    said = way.said(got)
    seen = {"streamed": way.streamed, "observing": way.mode == "observe"}
    assert got.status_code in fault.statuses(**seen), said
    assert (said == UNREAD) == fault.is_passed_on(**seen)
    if way.mode == "enforce":
        withheld(got, said, name)
    elif fault.measured:
        assert "".join(SECRET) in said
    if said.startswith("error"):
        assert proxy.metric_sum("idk_upstream_errors_total", upstream="fake") > errors
    record.add(name, outcome_class(got, said))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_upstream_that_refuses_connections(way, proxy, record):
    got = proxy.post(way.asks("?", f"gone-{way.mode}"), way.path)
    assert got.status_code == 502
    record.add("refuses connections", outcome_class(got, way.said(got)))


def test_memory_is_where_it_was(proxy, upstream):
    """What the first rounds take is kept for the others."""
    process, sizes = Process(proxy.pid), []
    prompts = {name: upstream.script(FAULTS[name].reply) for name in SOON}
    for _ in range(ROUNDS):
        for prompt, way in product(prompts.values(), WAYS):
            proxy.post(way.asks(prompt), way.path)
        sizes.append(process.rss_mb())
    assert sizes[-1] - sizes[ROUNDS // 2 - 1] < GROWTH_MB, sizes


def test_the_table_is_of_faults():
    assert all(isinstance(fault, Fault) for fault in FAULTS.values())
    assert len(FAULTS) > 30
