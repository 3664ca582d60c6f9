"""The model that the replicas ask: the benchmark's own upstream, and an answer that takes a while."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from tests.benchmarks import bodies
from tests.benchmarks.contenders import MODELS
from tests.benchmarks.run import start_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.measure import Server

#: Its body comes so long after its head: some requests are in flight at any moment, as with a model.
SLOW: Final = "bench-slow"
SLOW_US: Final = 50_000


@contextmanager
def upstream(directory: Path) -> Iterator[Server]:
    """Start the upstream on any core and yield it."""
    (whole,) = bodies.replies()["bench-small"].frames
    head, _, body = whole.partition(b"\r\n\r\n")
    replies = {name: bodies.replies()[name] for name in MODELS}
    replies[SLOW] = bodies.Reply((head + b"\r\n\r\n", body), SLOW_US)
    with ExitStack() as stack:
        yield start_upstream(directory, cores(), stack, replies)


def cores() -> str:
    """Return all cores in taskset's notation."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))
