"""From one request's costs to a million a minute, and which resource is used up first."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.benchmarks import bodies
from tests.benchmarks.report import table

if TYPE_CHECKING:
    from tests.benchmarks.scale.report import Figures

GOAL: Final = 1_000_000
RATE: Final = GOAL / 60
#: How full a process may be run.
FULL: Final = 0.7
#: ``server.retention.decisions`` where nothing else is said.
RETAINED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Thread:
    """What the node of Redis that holds every key has to do for one request, in microseconds of its one thread."""

    name: str
    us: float

    @property
    def most(self) -> float:
        """Requests a minute at which nothing of the thread is left."""
        return 60e6 / self.us


def threads(figures: Figures) -> list[Thread]:
    """By what limits the key; each decision that is recorded is forgotten one day."""
    assert figures.forgetting is not None
    gone = figures.forgetting.thread_us
    names = {"app": "no limits", "requests": "a limit of requests", "both": "limits of requests and tokens"}
    return [Thread(names[each.key], each.thread_us + gone) for each in figures.costs]


def rendered(figures: Figures) -> str:
    """Return the section as Markdown."""
    cpu = {
        model: {
            who: median(
                each.cpu_ms[who] for each in figures.carried if each.model == model and each.replicas > 1
            )
            for who in ("replicas", "nginx")
        }
        for model in ("bench-small", "bench-large")
    }
    large = len(b"".join(bodies.replies()["bench-large"].frames))
    memory = median(each.memory for each in figures.costs)
    bytes_in = max(each.bytes_in for each in figures.costs)
    kept = f"{memory * RETAINED / 1e9:.1f} GB for the newest million, as much again before a minute's are forgotten"
    rows = [
        _cores("replicas, answers of 0.9 KB", cpu["bench-small"]["replicas"], "more replicas"),
        _cores("replicas, answers of 31 KB", cpu["bench-large"]["replicas"], "more replicas"),
        _cores("nginx, answers of 31 KB", cpu["bench-large"]["nginx"], "more workers"),
        [
            "network, answers of 31 KB",
            f"{large:,} bytes",
            f"{_gbit(large):.1f} Gbit/s in, and out",
            "more replicas",
        ],
        [
            "network into Redis, all limits",
            f"{bytes_in:,.0f} bytes",
            f"{_gbit(bytes_in):.2f} Gbit/s",
            "another prefix",
        ],
        ["memory of Redis", f"{memory:,.0f} bytes", kept, "another prefix"],
        *[_thread(each) for each in threads(figures)],
    ]
    worst, best = (
        max(threads(figures), key=lambda each: each.us),
        min(threads(figures), key=lambda each: each.us),
    )
    return f"""## To a million requests a minute

That is {RATE:,.0f} a second. Costs as measured above with four replicas.

{table(["", "one request", "a million a minute", "grows by"], rows)}

**The first bottleneck is the thread of the one Redis node that holds the configuration's keys**: full at
{best.most / 1e6:.2f} million requests a minute with {best.name}, at {worst.most / 1e6:.2f} million with {worst.name}.
A script may touch all keys of a configuration only if they share a slot, so that a Cluster gives a configuration three
nodes to lose one of, and not three to work with. No answer waits for it: over that bound decisions queue, what finds no
room is dropped and counted (`idk_store_errors_total{{operation="record"}}`), and limits are counted by each replica.

What moves the bound: another prefix for each group of routes (`redis+cluster://…?prefix=support`), since another prefix
is another slot, perhaps on another node; N of them carry N times as much. A limit asks Redis for each request, and
waits for the disk, while decisions are written a hundred at a time: give limits to the keys that need them, or to a
Redis with `appendfsync everysec`, which waits for no disk and may lose what the README says. What grows with replicas
needs no more than them.
"""


def _gbit(size: float) -> float:
    return size * 8 * RATE / 1e9


def _cores(name: str, ms: float, grows: str) -> list[str]:
    cores = ms * RATE / 1000
    return [name, f"{ms:.3f} ms", f"{cores:.1f} cores, {cores / FULL:.0f} at {FULL:.0%}", grows]


def _thread(each: Thread) -> list[str]:
    use = each.us * RATE / 1e6
    return [f"thread of Redis, {each.name}", f"{each.us:.0f} µs", f"{use:.0%} of one core", "another prefix"]
