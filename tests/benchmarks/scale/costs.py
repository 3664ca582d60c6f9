"""What a request costs in Redis: commands, bytes, time of its one thread, and memory kept, by what the key limits."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.scale.clients import ask

if TYPE_CHECKING:
    import redis

    from tests.benchmarks.scale.fleet import Fleet

#: So few that Redis answers each question about a limit before its request goes on without.
CLIENTS: Final = 2
WRITTEN_S: Final = 20.0
IDLE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """The Redis cost of one request, without the background cost of idle replicas."""

    key: str
    requests: int
    #: What came over the wire, and what scripts ran beside.
    calls: float
    commands: float
    bytes_in: float
    bytes_out: float
    thread_us: float
    memory: float


@dataclass(frozen=True, slots=True)
class Idle:
    """The Redis cost of one idle replica in a second."""

    commands: float
    bytes_in: float
    bytes_out: float
    thread_us: float


@dataclass(frozen=True, slots=True)
class Forgetting:
    """How many decisions were forgotten; microseconds of each, of Redis' thread and until it was done."""

    decisions: int
    thread_us: float
    took_us: float


@dataclass(frozen=True, slots=True)
class _Now:
    calls: int
    commands: int
    bytes_in: int
    bytes_out: int
    thread_s: float
    memory: int
    kept: int
    at: float

    @classmethod
    def of(cls, client: redis.Redis) -> _Now:
        """Read the node's counters; this takes two commands, which are negligible."""
        info: dict[str, Any] = client.info("everything")
        calls = {
            name.removeprefix("cmdstat_"): each["calls"]
            for name, each in info.items()
            if name.startswith("cmdstat_")
        }
        return cls(
            calls.get("eval", 0),
            info["total_commands_processed"],
            info["total_net_input_bytes"],
            info["total_net_output_bytes"],
            info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"],
            info["used_memory"],
            client.zcard("{idk}:at"),
            time.monotonic(),
        )


def idle(fleet: Fleet) -> Idle:
    """Measure the Redis cost of idle replicas."""
    fleet.settle()
    with fleet.client() as client:
        before = _Now.of(client)
        time.sleep(IDLE_S)
        after = _Now.of(client)
    share = (after.at - before.at) * len(fleet.replicas)
    return Idle(
        (after.commands - before.commands - 2) / share,
        (after.bytes_in - before.bytes_in) / share,
        (after.bytes_out - before.bytes_out) / share,
        (after.thread_s - before.thread_s) / share * 1e6,
    )


def cost(fleet: Fleet, body: bytes, key: str, requests: int, at_rest: Idle) -> Cost:
    """Measure the Redis cost of ``requests`` requests with this key through all replicas."""
    fleet.settle()
    with fleet.client() as client:
        before = _Now.of(client)
        seen = asyncio.run(ask(fleet.url, body, CLIENTS, lambda sent: sent < requests, key))
        assert {each.status for each in seen} == {200}
        until = time.monotonic() + WRITTEN_S
        while client.zcard("{idk}:at") < before.kept + len(seen):
            assert time.monotonic() < until, "not every decision is written"
            time.sleep(0.05)
        after = _Now.of(client)
    seconds = (after.at - before.at) * len(fleet.replicas)
    number = len(seen)
    return Cost(
        key,
        number,
        (after.calls - before.calls) / number,
        (after.commands - before.commands - at_rest.commands * seconds) / number,
        (after.bytes_in - before.bytes_in - at_rest.bytes_in * seconds) / number,
        (after.bytes_out - before.bytes_out - at_rest.bytes_out * seconds) / number,
        (after.thread_s - before.thread_s - at_rest.thread_us * seconds / 1e6) / number * 1e6,
        (after.memory - before.memory) / number,
    )


def forgetting(fleet: Fleet) -> Forgetting:
    """Forget all but the newest."""
    fleet.settle()
    with fleet.client() as client:
        before = _Now.of(client)
        gone = asyncio.run(fleet.in_store(lambda store: store.retain(0.0, 1)))
        after = _Now.of(client)
    return Forgetting(
        gone, (after.thread_s - before.thread_s) / gone * 1e6, (after.at - before.at) / gone * 1e6
    )
