"""An hour of everything at once: ``python -m tests.benchmarks.soak_hour [--minutes 60]``; writes SOAK.md beside.

One real process serves chat and responses, whole and streamed, on routes that enforce and that observe, while the
upstream fails at random (of a fixed seed), clients leave, ``idk.yaml`` is rewritten, whole and half, policies are
pushed and rolled back, and labels are given. It fails where a withheld answer is released, where any answer is not
what it must be, where an acknowledged label is not in the store at the end, or where memory or file descriptors go
on growing.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.storage import Sealer, make_store
from tests.benchmarks.soak_changes import STORE, Changes
from tests.benchmarks.soak_traffic import FAULTED, LABELLED, LEAVES, PASSED, Clients, Tally
from tests.benchmarks.soak_upstream import SoakUpstream
from tests.e2e.proxies import Proxy
from tests.faults.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULT: Final = Path(__file__).parent / "SOAK.md"
SAMPLE_S: Final = 60.0
CONCURRENCY: Final = 16
#: What may grow from the middle of the run to its end: caches and pools have long filled by then.
GROWTH_MB, GROWTH_FDS = 10.0, 8
#: Of all requests, those that a machine which is busy with other things may leave unanswered in time.
LATE: Final = 0.01


class Sample(NamedTuple):
    """The process at one moment, ``at_s`` seconds after the start."""

    at_s: float
    requests: int
    rss_mb: float
    descriptors: int
    sockets: int
    labels: int

    @classmethod
    def of(cls, process: Process, began: float, tally: Tally) -> Sample:
        """Now."""
        return cls(
            time.monotonic() - began, tally.requests, process.rss_mb(), process.descriptors(), process.sockets(),
            len(tally.labels),
        )  # fmt: skip

    def row(self) -> str:
        """Return a row of the table of minutes."""
        figures = (self.requests, f"{self.rss_mb:.1f}", self.descriptors, self.sockets, self.labels)
        return f"| {self.at_s / 60:.1f} | " + " | ".join(map(str, figures)) + " |"


class Run(NamedTuple):
    """What was seen; ``said`` counts what the proxy logged, by its first words."""

    minutes: float
    rate: float
    seed: int
    tally: Tally
    samples: list[Sample]
    changes: Counter[str]
    reloads: dict[str, float]
    said: Counter[str]
    lost: int

    def faults(self) -> list[str]:
        """Return the reasons for a failure; empty if there is none."""
        middle, end = self.samples[len(self.samples) // 2], self.samples[-1]
        found = []
        if self.tally.wrong:
            found.append(f"{len(self.tally.wrong)} answers were not what they must be")
        if self.lost:
            found.append(f"{self.lost} acknowledged labels are not in the store")
        if self.tally.late > LATE * self.tally.requests:
            found.append(f"{self.tally.late} requests were not answered in time")
        if end.rss_mb - middle.rss_mb > GROWTH_MB:
            found.append(f"memory grew by {end.rss_mb - middle.rss_mb:.1f} MB in the second half")
        if end.descriptors - middle.descriptors > GROWTH_FDS:
            found.append(f"file descriptors grew from {middle.descriptors} to {end.descriptors}")
        if not self.reloads["applied"] or self.reloads["refused"] > self.changes["half a file"]:
            found.append(f"the changes of idk.yaml were not taken up as they should: {self.reloads}")
        return found


async def _sampled(process: Process, began: float, until: float, tally: Tally, samples: list[Sample]) -> None:
    while time.monotonic() < until:
        samples.append(Sample.of(process, began, tally))
        one = samples[-1]
        print(
            f"{one.at_s / 60:5.1f} min: {one.requests} requests, {one.rss_mb:.1f} MB, {one.descriptors} descriptors, "
            f"{one.labels} labels, {len(tally.wrong)} wrong",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        await asyncio.sleep(min(SAMPLE_S, max(0.0, until - time.monotonic())))


async def _traffic(
    proxy: Proxy, changes: Changes, clients: Clients, rate: float, minutes: float
) -> list[Sample]:
    began = time.monotonic()
    until, samples = began + 60 * minutes, list[Sample]()
    process = Process(proxy.pid)
    beside = [
        asyncio.create_task(work)
        for work in (
            changes.files(),
            changes.pushes(),
            _sampled(process, began, until, clients.tally, samples),
        )
    ]
    try:
        await clients.run(CONCURRENCY, rate, until)
    finally:
        for task in beside:
            task.cancel()
        for task in beside:
            with suppress(asyncio.CancelledError):
                await task
    changes.write()
    await asyncio.sleep(2.0)  # requests in flight have ended, and only idle connections remain
    samples.append(Sample.of(process, began, clients.tally))
    return samples


async def _lost(folder: Path, labels: Sequence[tuple[str, str]]) -> int:
    """Return the number of acknowledged labels that are missing in the store."""
    store = make_store(STORE, folder, Sealer(None))
    await store.open()
    try:
        lost = 0
        for id, label in labels:  # noqa: A001
            lost += label not in [each.label for each in await store.labels(id)]
        return lost
    finally:
        await store.aclose()


def run(minutes: float, rate: float, seed: int, folder: Path) -> Run:
    """Run the soak test in ``folder``."""
    tally, random = Tally(), Random(seed)
    with SoakUpstream() as upstream:
        changes = Changes(folder, upstream.base_url, Random(seed + 1))
        asyncio.run(changes.first_push())
        with Proxy("--config", changes.write(), cwd=folder) as proxy:
            samples = asyncio.run(_traffic(proxy, changes, Clients(proxy.url, random, tally), rate, minutes))
            reloads = {
                outcome: proxy.metric("idk_config_reloads_total", outcome=outcome)
                for outcome in ("applied", "refused")
            }
    lines = [line.replace(f"{folder}/", "") for line in proxy.log if line.startswith(("WARNING", "ERROR"))]
    said = Counter(" ".join(line.split()[:4]) for line in lines)
    lost = asyncio.run(_lost(folder, tally.labels))
    return Run(minutes, rate, seed, tally, samples, changes.made, reloads, said, lost)


def rendered(found: Run) -> str:
    """As SOAK.md has it."""
    failed, tally = found.faults(), found.tally
    counted = Counter(tally.outcomes)
    lines = [
        "# A soak",
        "",
        "Written by `make soak`: one process under mixed traffic, chat and responses, whole and streamed,",
        f"enforcing and observing. {FAULTED:.0%} of the requests meet a fault of the table of `make test-faults`,",
        f"{LEAVES:.0%} of the clients leave, {PASSED:.0%} are passed through, {LABELLED:.0%} get a label.",
        "During the run, `idk.yaml` is rewritten every five seconds, a fifth of the times half of it first, and a",
        "policy is pushed or rolled back every seven.",
        "",
        f"{found.minutes:g} minutes at {found.rate:g} requests a second, seed {found.seed}, Python "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}: "
        + ("**it held.**" if not failed else "**it failed: " + "; ".join(failed) + ".**"),
        "",
        "| | |",
        "| --- | --- |",
        f"| requests | {tally.requests} |",
        f"| withheld answers released, or any answer that it must not be | {len(tally.wrong)} |",
        f"| labels acknowledged, and of those not in the store at the end | {len(tally.labels)}, {found.lost} |",
        f"| not answered in time, on a machine with other work | {tally.late} |",
        *(f"| {name} | {count} |" for name, count in sorted(counted.items())),
        *(f"| {name} | {count} |" for name, count in sorted(found.changes.items())),
        *(f"| reloads {name} | {count:.0f} |" for name, count in found.reloads.items()),
        "",
        "| minute | requests | RSS, MB | file descriptors | sockets | labels |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        *(one.row() for one in found.samples),
        "",
        f"Warnings and errors in the proxy's log, by their first words: {_said(found.said)}.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _said(said: Counter[str]) -> str:
    return "; ".join(f"`{words} …` {count}×" for words, count in said.most_common(12)) or "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where it held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak_hour", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="idk-soak-") as folder:
        found = run(options.minutes, options.rate, options.seed, Path(folder))
    options.out.write_text(rendered(found))
    for each in found.tally.wrong[:20]:
        print(each, file=sys.stderr)
    failed = found.faults()
    print(f"{found.tally.requests} requests, written to {options.out}: {'; '.join(failed) or 'it held'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
