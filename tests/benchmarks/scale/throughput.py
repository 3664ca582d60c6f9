"""What one replica and all of them carry, who spends how much CPU on it, and what Redis does for it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.load import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.benchmarks.load import Load
    from tests.benchmarks.measure import Server
    from tests.benchmarks.scale.fleet import Fleet

CLIENTS: Final = 32


@dataclass(frozen=True, slots=True)
class Carried:
    """One run: answers a second, their times, and milliseconds of CPU for each of them by who spent it."""

    replicas: int
    model: str
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: Mapping[str, float]
    #: Of the machine's cores, how much was busy with anything at all.
    busy: float
    errors: int


def carried(fleet: Fleet, upstream: Server, load: Load, model: str, replicas: int, seconds: float) -> Carried:
    """Run wrk once, through the balancer in front of ``replicas`` replicas (one, or all)."""
    url = fleet.url_of_one if replicas == 1 else fleet.url
    scenario = Scenario(model, stream=False, asks=False, concurrency=CLIENTS)
    spent = {**fleet.cpu_s(), "upstream": upstream.cpu_s()}
    counted, machine, began = fleet.counted(), _machine_s(), time.monotonic()
    run = load.run(int(url.rpartition(":")[2]), {"authorization": "Bearer app"}, scenario, seconds)
    busy = (_machine_s() - machine) / (time.monotonic() - began) / (os.cpu_count() or 1)
    upstream.settle()
    # What was judged, not what wrk saw: of the last ones it waits for none.
    judged = fleet.counted() - counted
    now = {**fleet.cpu_s(), "upstream": upstream.cpu_s()}
    return Carried(
        replicas,
        model,
        run.requests / run.seconds,
        run.total_p50 / 1000,
        run.total_p99 / 1000,
        {who: (now[who] - before) / judged * 1000 for who, before in spent.items()},
        busy,
        run.errors,
    )


def _machine_s() -> float:
    """Return the busy seconds of all cores since the machine started."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        user, nice, system, _, _, irq, soft, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
