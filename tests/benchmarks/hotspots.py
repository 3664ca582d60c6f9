"""Where the time goes: ``python -m tests.benchmarks.hotspots [idk-enforce] [--stream] [--body bench-small]``.

Samples the server under load with py-spy, from outside, and prints a table by function for NOTES.md, which
RESULTS.md takes in. Time on the processor only, waits left out; C functions are counted to their caller.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import bodies, contenders, install, measure
from tests.benchmarks.load import Load, Scenario
from tests.benchmarks.run import start_upstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SECONDS, RATE, ROWS, CONCURRENCY = 10, 500, 25, 16
MAIN = "MainThread"


def sampled(server: measure.Server, load: Load, scenario: Scenario, directory: Path) -> list[str]:
    """py-spy's collapsed stacks, one a line with its count, of the server under this load."""
    spy = install.python_environment("py-spy", "py-spy>=0.4,<1") / "py-spy"
    output = directory / "stacks"
    options = (
        "-t",
        "-d",
        str(SECONDS),
        "-r",
        str(RATE),
        "-f",
        "raw",
        "-o",
        str(output),
        "-p",
        str(server.pid),
    )
    recorder = subprocess.Popen(
        [str(spy), "record", *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        load.run(server.port, {}, scenario, SECONDS + 1)
        _, errors = recorder.communicate(timeout=30)
    finally:
        recorder.kill()
        recorder.wait()
    if not output.exists():
        raise measure.Broken(f"py-spy: {errors.decode(errors='replace').strip()[-300:]}")
    # Of the loop's thread alone: py-spy takes others that wait for work to be at it.
    return [line for line in output.read_text().splitlines() if MAIN in line.partition(";")[0]]


def by_function(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Samples in each function itself, in it and what it calls, and in all."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" if ":" in frame else frame for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    return own, within, total


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the profile was taken, else 1."""
    names = [name for name in contenders.CONTENDERS if name.startswith("idk") or name == "raw"]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hotspots", description=__doc__)
    parser.add_argument("contender", nargs="?", default="idk-enforce", choices=names)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--body", default="bench-large", choices=contenders.MODELS)
    options = parser.parse_args(arguments)
    scenario = Scenario("bench-large" if options.stream else options.body, options.stream, True, CONCURRENCY)
    launch_here = contenders.CONTENDERS[options.contender].launch
    assert launch_here is not None
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idk-profile-")))
            server_core, load_core = measure.cores()
            upstream = start_upstream(directory, load_core, stack).port
            site = contenders.Site(directory, measure.free_port(), upstream)
            launch = launch_here(site)
            command = measure.pinned(server_core, *launch.command)
            server = measure.Server(command, launch.environment, directory / "log", site.port)
            stack.callback(server.stop)
            server.wait_for_200({}, bodies.request("bench-small", stream=False, asks=True))
            own, within, total = by_function(sampled(server, Load(directory, load_core), scenario, directory))
    except (install.Missing, measure.Broken) as exc:
        print(f"no profile: {exc}", file=sys.stderr)
        return 1
    print(
        f"{options.contender}, {scenario.model}{' as a stream' if scenario.stream else ''}, c = {CONCURRENCY}\n"
    )
    print("| function | itself | with what it calls |\n| --- | --- | --- |")
    for name, count in own.most_common(ROWS):
        print(f"| {name} | {count / total:.1%} | {within[name] / total:.1%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
