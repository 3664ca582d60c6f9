"""Two replicas behind nginx with a Redis Cluster: one policy, one limit, one count, and what a kill takes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import bodies
from tests.benchmarks.scale import faults
from tests.benchmarks.scale.fleet import fleet
from tests.benchmarks.scale.upstream import SLOW, upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.scale.fleet import Fleet

LIMIT, REPLICAS = 20, 2
SMALL = bodies.request("bench-small", stream=False, asks=False)
SLOW_BODY = bodies.request(SLOW, stream=False, asks=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("replicas")
    keys = {"limited": {"requests_per_minute": LIMIT}}
    with (
        upstream(folder) as model,
        fleet(folder, f"http://127.0.0.1:{model.port}/v1", REPLICAS, keys) as made,
    ):
        yield made


def test_a_pushed_policy_is_in_force_on_all(running):
    # On a quiet machine a thirtieth of a second; tests run on busy ones.
    assert max(faults.pushed(running, SMALL)) < 5.0


def test_a_limit_holds_over_replicas(running):
    statuses = faults.passed(running, SMALL, "limited", 3 * LIMIT, clients=1)
    assert set(statuses) == {200, 429}
    # Where Redis is slower than a request waits, on a busy machine, each replica counts by itself.
    assert LIMIT <= statuses[200] <= REPLICAS * LIMIT


def test_counters_and_decisions_add_up(running, record):
    seen = faults.nothing_happens(running, SLOW_BODY)
    assert (seen.lost, seen.counted, seen.recorded) == (0, 0, 0)
    record.add("replicas: nothing happens, and every request is counted and recorded", "answer")


def test_a_node_of_redis_dies_and_no_request_is_lost(running, record):
    seen = faults.a_node_dies(running, SLOW_BODY)
    assert (seen.lost, seen.counted, seen.recorded) == (0, 0, 0)
    record.add(
        f"replicas: the node of Redis with every key is killed under load ({seen.sent} requests)", "answer"
    )


def test_a_replica_dies_and_only_what_it_had_under_way_is_lost(running, record):
    seen = faults.a_replica_dies(running, SLOW_BODY, place=1)
    assert seen.elsewhere == 0
    # It had its share of the clients, and half a second of decisions that were not written yet.
    assert seen.lost <= faults.CLIENTS
    assert seen.recorded <= 0
    record.add(
        f"replicas: one is killed under load ({seen.sent} requests, {seen.lost} in flight on it)",
        "answer, or its own 502",
    )
