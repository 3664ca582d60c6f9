"""The figures of ``make bench-scale`` as deploy/SCALING.md."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.benchmarks.report import table
from tests.benchmarks.results import spread
from tests.benchmarks.scale import arithmetic

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from tests.benchmarks.scale.costs import Cost, Forgetting, Idle
    from tests.benchmarks.scale.faults import Blow
    from tests.benchmarks.scale.throughput import Carried

OUT: Final = Path(__file__).parents[3] / "deploy" / "SCALING.md"
SIZES: Final = {"bench-small": "0.9 KB", "bench-large": "31 KB"}
BLOWS: Final = (
    "killed", "sent", "answered", "lost", "lost elsewhere", "replicas' counters", "decisions in Redis",
    "slowest answer, s",
)  # fmt: skip
#: What is promised of a push.
PUSH_S: Final = 1.0


@dataclass(slots=True)
class Figures:
    """What one run found; filled as it goes."""

    facts: Mapping[str, str]
    limit: int
    carried: list[Carried] = field(default_factory=list)
    idle: Idle | None = None
    costs: list[Cost] = field(default_factory=list)
    forgetting: Forgetting | None = None
    pushed: list[list[float]] = field(default_factory=list)
    passed: list[tuple[int, Counter[int]]] = field(default_factory=list)
    nothing: list[Blow] = field(default_factory=list)
    replica: list[Blow] = field(default_factory=list)
    node: list[Blow] = field(default_factory=list)


def broken(figures: Figures) -> Iterator[str]:
    """Yield a sentence for each promise that the measurements do not keep."""
    slowest = max(max(each) for each in figures.pushed)
    if slowest >= PUSH_S:
        yield f"a policy was in force {slowest:.2f} s after its push"
    for clients, statuses in figures.passed:
        if clients == 1 and statuses[200] != figures.limit:
            yield f"{statuses[200]} requests passed a limit of {figures.limit}, {clients} at once"
    for name in ("nothing", "replica", "node"):
        for blow in getattr(figures, name):
            if blow.elsewhere:
                yield f"{name}: {blow.elsewhere} requests lost that no killed replica had in flight"
            if blow.counted:
                yield f"{name}: the replicas count {blow.counted:+} requests"
            if blow.recorded and name != "replica":
                yield f"{name}: the store holds {blow.recorded:+} decisions"


def rendered(figures: Figures) -> str:
    """Return the whole page as Markdown."""
    parts = (_head, _carried, _shared, _costs)
    return "\n".join(part(figures) for part in parts) + "\n" + arithmetic.rendered(figures)


def _head(figures: Figures) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in figures.facts.items() if name != "machine")
    machine = figures.facts["machine"]
    return f"""# From one replica to many

Written by `make bench-scale`: four `idk serve` processes of one configuration behind nginx, a Redis Cluster of three
nodes, the benchmark's upstream, and the load, all on one machine ({machine}), which did other work at the same
time: everything here ran at the lowest priority, and waited for its turn. {facts}.
Redis writes each command to the disk before it answers (`appendfsync always`), as `deploy/compose.yaml` and the chart
start it. Figures are medians, with the least and the greatest of the runs; `n` is their number.
"""


def _carried(figures: Figures) -> str:
    rows = []
    for model, size in SIZES.items():
        for replicas in sorted({each.replicas for each in figures.carried}):
            runs = [each for each in figures.carried if (each.model, each.replicas) == (model, replicas)]
            cpu = [_of([run.cpu_ms[who] for run in runs], 3) for who in runs[0].cpu_ms]
            busy = _of([run.busy * 100 for run in runs], 0)
            rows.append([size, str(replicas), _of([run.rate for run in runs], 0), *cpu, busy, str(len(runs))])
    who = [f"{name}, CPU ms" for name in figures.carried[0].cpu_ms]
    head = ["answer", "replicas", "answers a second", *who, "machine busy, %", "n"]
    failed = sum(each.errors for each in figures.carried)
    return f"""## What one carries, and four

wrk, 32 connections, a route that enforces a policy of the store; CPU is that of one answer.

{table(head, rows)}

{failed} requests failed. One replica is one process and has one core; four have no more than the machine's
{os.cpu_count()}, which load, balancer, upstream, Redis and others use too. That bounds them: the answers a second say
what the machine had left, and are no measure of scaling. CPU is a better one: {_ratios(figures)}.
Four processes on {os.cpu_count()} busy cores take turns, each with a cold cache, and write smaller batches; they share
nothing but Redis, which no answer waits for. With a core each they add up until one of the bounds below; that was not
measured here.
"""


def _ratios(figures: Figures) -> str:
    said = []
    for model, size in SIZES.items():
        one, four = (
            median(
                each.cpu_ms["replicas"]
                for each in figures.carried
                if (each.model, each.replicas == 1) == (model, alone)
            )
            for alone in (True, False)
        )
        said.append(f"an answer of {size} costs four {four / one:.2f} times what it costs one")
    return ", ".join(said)


def _shared(figures: Figures) -> str:
    slowest = [max(each) * 1000 for each in figures.pushed]
    rows = [
        ["a policy pushed, until every replica has judged by it", f"{_of(slowest, 0)} ms", str(len(slowest))],
        *[_limited(figures, clients) for clients in sorted({clients for clients, _ in figures.passed})],
    ]
    blows = [
        _blow("nothing", figures.nothing),
        _blow("a replica, and started again", figures.replica),
        _blow("the node of Redis with every key, and started again", figures.node),
    ]
    return f"""## One policy, one limit, one count

{table(["", "", "n"], rows)}

A limit is counted in Redis by one script, so that it holds over replicas, exactly, where Redis answers. A request waits
5 ms at the most for leave: where Redis is away, or slower (as on a machine whose cores are all busy), a replica counts
by itself until it hears of it again, and a key may use up to its limit on each. A replica that was refused does not ask
again before the time that it was told.

Killed under load (32 clients, answers that take 50 ms, nginx as it comes: what was sent to a replica is not sent
again); totals of {len(figures.nothing)} runs:

{table(BLOWS, blows)}

"Lost elsewhere" are those that the killed replica did not have under way at that moment. Counters and decisions are
less those answered: 0 says that they add up. A killed process takes its counters with it, and the decisions of up to
half a second, which it had not written yet; while Redis is away they wait.
"""


def _limited(figures: Figures, clients: int) -> list[str]:
    passed = [float(statuses[200]) for asked, statuses in figures.passed if asked == clients]
    sent = (
        f"{2 * figures.limit} requests through all, {clients} at a time, a limit of {figures.limit} a minute"
    )
    return [sent, f"{_of(passed, 0)} pass", str(len(passed))]


def _blow(name: str, blows: list[Blow]) -> list[str]:
    counted = [each.counted for each in blows if each.counted is not None]
    return [
        name,
        f"{sum(each.sent for each in blows):,}",
        f"{sum(each.answered for each in blows):,}",
        f"{sum(each.lost for each in blows)} ({', '.join(str(each.lost) for each in blows)})",
        str(sum(each.elsewhere for each in blows)),
        f"{sum(counted):+}" if sum(counted) else ("0" if counted else "–"),
        f"{recorded:+}" if (recorded := sum(each.recorded for each in blows)) else "0",
        f"{max(each.slowest_s for each in blows):.2f}",
    ]


def _costs(figures: Figures) -> str:
    assert figures.idle is not None
    assert figures.forgetting is not None
    names = {"app": "none", "requests": "requests a minute", "both": "requests and tokens a minute"}
    rows = [
        [
            names[each.key],
            f"{each.calls:.2f}",
            f"{each.commands:.1f}",
            f"{each.bytes_in:,.0f}",
            f"{each.bytes_out:,.0f}",
            f"{each.thread_us:.0f}",
            f"{each.memory:,.0f}",
            f"{each.requests:,}",
        ]
        for each in figures.costs
    ]
    idle, gone = figures.idle, figures.forgetting
    return f"""## What a request costs in Redis

A request without texts, by what limits its key. Decisions are recorded in batches, off the request's path; commands
within a script are counted too. The thread is the node's main thread, which runs every command.

{table(["limits", "round trips", "commands", "bytes in", "bytes out", "thread µs", "memory, bytes", "n"], rows)}

A replica at rest asks {idle.commands:.1f} commands a second ({idle.bytes_in:,.0f} bytes in, {idle.thread_us:,.0f} µs).
Forgetting a decision (`server.retention`) takes {gone.thread_us:.0f} µs of the thread, and {gone.took_us:.0f} µs in all
(n = {gone.decisions:,}). An audit sample is more: its texts and evidence are kept.
"""


def _of(values: list[float], digits: int) -> str:
    found = spread(list(values))
    assert found is not None
    if f"{found.least:.{digits}f}" == f"{found.most:.{digits}f}":
        return f"{found.middle:,.{digits}f}"
    return f"{found.middle:,.{digits}f} ({found.least:,.{digits}f}–{found.most:,.{digits}f})"
