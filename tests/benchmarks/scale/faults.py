"""A policy pushed, limits shared, a replica and a node of Redis killed: what clients see of it, counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.benchmarks.scale.clients import ask, ask_during
from tests.benchmarks.scale.fleet import KEY, POLICY, push

if TYPE_CHECKING:
    from tests.benchmarks.scale.clients import Seen
    from tests.benchmarks.scale.fleet import Fleet

CLIENTS: Final = 32
#: Before the blow, while what was hit is away, and after it is back.
BEFORE_S, AWAY_S, AFTER_S = 2.0, 2.0, 4.0
DEADLINE_S: Final = 20.0


def pushed(fleet: Fleet, body: bytes) -> list[float]:
    """Return for each replica the seconds from a push until an answer was judged by the new policy."""
    headers = {"authorization": f"Bearer {KEY}"}
    took = [0.0] * len(fleet.replicas)
    version = 0
    ready = threading.Event()
    began = 0.0

    def watch(place: int) -> None:
        ready.wait(DEADLINE_S)
        while time.monotonic() - began < DEADLINE_S:
            said = fleet.replicas[place].post(body, headers=headers).json()["idk"]["policy"]
            if said == f"{POLICY}@{version}":
                took[place] = time.monotonic() - began
                return
            time.sleep(0.005)
        took[place] = DEADLINE_S

    threads = [threading.Thread(target=watch, args=(place,)) for place in range(len(took))]
    for each in threads:
        each.start()
    version = asyncio.run(fleet.in_store(lambda store: push(store, 0.0)))
    began = time.monotonic()
    ready.set()
    for each in threads:
        each.join()
    return took


def passed(fleet: Fleet, body: bytes, key: str, requests: int, clients: int) -> Counter[int]:
    """Count the statuses of ``requests`` requests with one key through all replicas."""
    seen = asyncio.run(ask(fleet.url, body, clients, lambda sent: sent < requests, key))
    return Counter(each.status for each in seen)


@dataclass(frozen=True, slots=True)
class Blow:
    """What was sent and answered; ``elsewhere``: lost although no killed replica had them in flight."""

    sent: int
    answered: int
    lost: int
    elsewhere: int
    #: The replicas' own count and the store's of the decisions made in it, less those answered; None where a
    #: process took its count with it.
    counted: int | None
    recorded: int
    slowest_s: float


def a_replica_dies(fleet: Fleet, body: bytes, place: int) -> Blow:
    """SIGKILL under load, and a new one in its place."""
    fleet.settle()
    kept = fleet.kept()
    blows = [(BEFORE_S, lambda: fleet.kill(place)), (AWAY_S, lambda: fleet.start_again(place))]
    seen, ((began, ended), _) = asyncio.run(ask_during(fleet.url, body, CLIENTS, blows, AFTER_S))
    address = (f"127.0.0.1:{fleet.ports[place]}",)
    lost = [each for each in seen if each.status != 200]
    theirs = [
        each for each in lost if each.replicas == address and each.began <= ended and began <= each.ended
    ]
    return _blow(fleet, seen, len(lost) - len(theirs), None, kept)


def a_node_dies(fleet: Fleet, body: bytes) -> Blow:
    """SIGKILL to the node that holds every key, under load; it comes back with what it had on the disk."""
    node = fleet.holder
    fleet.settle()
    counted, kept = fleet.counted(), fleet.kept()
    blows = [(BEFORE_S, node.kill), (AWAY_S, node.start)]
    seen, _ = asyncio.run(ask_during(fleet.url, body, CLIENTS, blows, AFTER_S))
    lost = sum(each.status != 200 for each in seen)
    return _blow(fleet, seen, lost, counted, kept)


def nothing_happens(fleet: Fleet, body: bytes) -> Blow:
    """Run the load without a fault, for comparison."""
    fleet.settle()
    counted, kept = fleet.counted(), fleet.kept()
    seen, _ = asyncio.run(ask_during(fleet.url, body, CLIENTS, [], BEFORE_S + AWAY_S + AFTER_S))
    return _blow(fleet, seen, sum(each.status != 200 for each in seen), counted, kept)


def _blow(fleet: Fleet, seen: list[Seen], elsewhere: int, counted: float | None, kept: int) -> Blow:
    answered = sum(each.status == 200 for each in seen)
    fleet.settle()
    return Blow(
        len(seen),
        answered,
        len(seen) - answered,
        elsewhere,
        None if counted is None else round(fleet.counted() - counted) - answered,
        fleet.kept() - kept - answered,
        max(each.ended - each.began for each in seen),
    )
