"""The benchmark: ``python -m tests.benchmarks.run [--quick] [--only nginx,idk-enforce] [--rounds N]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import bodies, install, measure, report
from tests.benchmarks.contenders import CONTENDERS, Contender, Launch, Site
from tests.benchmarks.load import HERE, Load, Scenario
from tests.benchmarks.results import Results, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ABSTENTION = "I don't know."
STARTS = 3  # of each contender, for the time to the first 200
WARM_S = 2
SLOW = 3  # times as long for slow contenders


@dataclass(frozen=True, slots=True)
class RunSize:
    """The number of rounds, their length in seconds, the concurrencies and the number of starts."""

    rounds: int
    seconds: float
    concurrencies: tuple[int, ...]
    starts: int

    def scenarios(self) -> list[Scenario]:
        kinds = [("bench-large", False), ("bench-small", False), ("bench-large", True)]
        return [Scenario(m, s, a, c) for m, s in kinds for a in (True, False) for c in self.concurrencies]


FULL, QUICK = RunSize(5, 3, (1, 16, 64), STARTS), RunSize(1, 1, (1, 16, 64), 1)


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that has started; ``server`` is None for the upstream itself."""

    name: str
    contender: Contender
    launch: Launch | None
    server: measure.Server | None
    port: int

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": "Bearer none"} | dict(self.launch.headers if self.launch else {})


class Bench:
    """One run: an upstream, the contenders that could be started, and what was found."""

    def __init__(self, size: RunSize, directory: Path, stack: ExitStack) -> None:
        self.size = size
        self._directory = directory
        self._stack = stack
        self._server_core, load_core = measure.cores()
        self.load = Load(directory, load_core)
        self._upstream_port = start_upstream(directory, load_core, stack).port
        self.results = Results(facts(self.load), {})
        self._running: list[Running] = []

    def start(self, name: str) -> None:
        """Starts a contender and measures how soon it answers; leaves it out with a reason where it cannot."""
        contender = CONTENDERS[name]
        try:
            if contender.launch is None:
                self._running.append(Running(name, contender, None, None, self._upstream_port))
            else:
                self._running.append(self._launch(name, contender))
        except (install.Missing, measure.Broken) as exc:
            self.results.left_out[name] = " ".join(str(exc).split())
            _say(f"{name} is left out: {exc}")
            return
        self.results.titles[name] = contender.title

    def _launch(self, name: str, contender: Contender) -> Running:
        assert contender.launch is not None
        body = bodies.request("bench-small", stream=False, asks=True)
        for attempt in range(self.size.starts):
            directory = self._directory / f"{name}-{attempt}"
            directory.mkdir()
            site = Site(directory, measure.free_port(), self._upstream_port)
            launch = contender.launch(site)
            command = measure.pinned(self._server_core, *launch.command)
            server = measure.Server(command, launch.environment, directory / "log", site.port)
            running = Running(name, contender, launch, server, site.port)
            try:
                took = server.wait_for_200(running.headers, body)
            except measure.Broken:
                server.stop()
                raise
            self.results.start_s.setdefault(name, []).append(took)
            if attempt < self.size.starts - 1:
                server.stop()
        self._stack.callback(server.stop)
        self.results.facts[contender.title] = launch.version
        _say(f"{name} {launch.version} answered {took:.2f} s after its start")
        return running

    def measure(self) -> None:
        """Rounds of every scenario with the contenders in turn, each round beginning with another one."""
        scenarios = self.size.scenarios()
        fit = {(r.name, s) for r in self._running for s in scenarios if self._answers(r, s)}
        for number in range(self.size.rounds):
            samples: dict[tuple[str, Scenario], Sample] = {}
            turn = number % len(self._running)
            for scenario in scenarios:
                for running in self._running[turn:] + self._running[:turn]:
                    if (running.name, scenario) in fit:
                        samples[running.name, scenario] = self._sample(running, scenario)
            self.results.rounds.append(samples)
            for running in self._running:
                if running.server:
                    self.results.rss_mb.setdefault(running.name, []).append(running.server.rss_mb())
            _say(f"round {number + 1} of {self.size.rounds} is done")

    def _answers(self, running: Running, scenario: Scenario) -> bool:
        """Warm up the server and return whether it answers correctly and gates (or the client asks)."""
        if not scenario.asks and not running.contender.gates:
            return False
        try:
            _check(running, scenario)
            if scenario.concurrency == max(self.size.concurrencies):
                self.load.run(running.port, running.headers, scenario, WARM_S)
        except (measure.Broken, OSError, ValueError, LookupError, TypeError) as exc:
            kind = f"{running.name}, {report.NAMES[scenario.model, scenario.stream]}, asks: {scenario.asks}"
            self.results.left_out[kind] = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
            _say(f"{kind}: wrong answer: {exc}")
            return False
        return True

    def _sample(self, running: Running, scenario: Scenario) -> Sample:
        seconds = self.size.seconds * (SLOW if running.contender.slow else 1)
        if running.server is None:
            return Sample(self.load.run(running.port, running.headers, scenario, seconds), None)
        running.server.settle()
        before = running.server.cpu_s()
        run = self.load.run(running.port, running.headers, scenario, seconds)
        return Sample(run, running.server.cpu_s() - before)


def start_upstream(
    directory: Path, core: str, stack: ExitStack, replies: Mapping[str, bodies.Reply] | None = None
) -> measure.Server:
    """Starts upstream.c with these replies, or with all of the benchmark's."""
    arguments = []
    for name, reply in (replies or bodies.replies()).items():
        path = directory / f"{name.replace('/', '-')}.reply"
        reply.write(path)
        arguments.append(f"{name}={path}")
    port = measure.free_port()
    command = measure.pinned(core, str(install.compiled(HERE / "upstream.c")), str(port), *arguments)
    server = measure.Server(command, {}, directory / "upstream.log", port)
    stack.callback(server.stop)
    server.wait_for_200({}, bodies.request("bench-small", stream=False, asks=True))
    return server


def _check(running: Running, scenario: Scenario) -> None:
    """Raises Broken (or what reading a strange answer raises) unless the answer is the right one."""
    status, body = measure.post(running.port, running.headers, scenario.request)
    if status != 200:
        raise measure.Broken(f"status {status}: {body[:200].decode(errors='replace')}")
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    parts = events if scenario.stream else [json.loads(body)]
    choices = [choice for part in parts for choice in part["choices"]]
    field = "delta" if scenario.stream else "message"
    answer = "".join(choice[field].get("content") or "" for choice in choices)
    expected = bodies.SMALL_ANSWER if scenario.model == "bench-small" else bodies.LARGE_ANSWER
    if answer != (ABSTENTION if running.contender.abstains else expected):
        raise measure.Broken(f"the answer was {answer[:80]!r}")
    if running.contender.gates:
        decisions = [c["decision"] for part in parts if "idk" in part for c in part["idk"]["choices"]]
        if decisions != ["abstain" if running.contender.abstains else "answer"]:
            raise measure.Broken(f"the decisions were {decisions}")
        shown = any(choice.get("logprobs") for choice in choices)
        if shown != (scenario.asks and not running.contender.abstains):
            raise measure.Broken(f"logprobs in the answer: {shown}, asked for: {scenario.asks}")


def facts(load: Load) -> dict[str, str]:
    model = next(
        (s for s in Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("model name")), ": unknown"
    )
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return {
        "machine": f"{model.partition(': ')[2]}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "revision": revision.stdout.strip() or "unknown",
        "load": load.version,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when idk, in every mode that was asked for, answered every request, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, written into the cache")
    parser.add_argument("--only", help="contenders, comma separated: " + ", ".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, help="rounds of every scenario")
    parser.add_argument("--seconds", type=float, help="of each run")
    parser.add_argument("--out", type=Path, help="the directory of RESULTS.md")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(CONTENDERS)
    if unknown := set(names) - set(CONTENDERS):
        parser.error(f"--only: no contender {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    base = QUICK if options.quick else FULL
    size = RunSize(
        options.rounds or base.rounds, options.seconds or base.seconds, base.concurrencies, base.starts
    )
    # A part of the benchmark does not overwrite the whole one's results.
    out = options.out or (HERE if not options.quick and not options.only else install.CACHE / "partial")
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idk-bench-")))
            bench = Bench(size, directory, stack)
            for name in names if "direct" in names else ["direct", *names]:
                bench.start(name)
            bench.measure()
            bench.results.facts["rounds"] = (
                f"{size.rounds} of {size.seconds:g} s, slow contenders {SLOW} times as long"
            )
    except (install.Missing, measure.Broken) as exc:
        _say(f"the benchmark cannot run here: {exc}")
        return 1
    path = report.write(bench.results, out)
    print(path.read_text())
    _say(f"written to {path}")
    faulty = [*bench.results.left_out, *bench.results.errors]
    return 1 if any(name.startswith("idk") for name in faulty) else 0


if __name__ == "__main__":
    sys.exit(main())
