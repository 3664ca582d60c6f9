"""Four replicas, measured and hurt: ``python -m tests.benchmarks.scale.run [--rounds N] [--out deploy/SCALING.md]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks import bodies, install, measure
from tests.benchmarks.contenders import MODELS
from tests.benchmarks.load import Load
from tests.benchmarks.run import facts
from tests.benchmarks.scale import costs, faults, report, throughput
from tests.benchmarks.scale.fleet import Fleet, fleet
from tests.benchmarks.scale.report import Figures
from tests.benchmarks.scale.upstream import SLOW, cores, upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLICAS: Final = 4
ROUNDS, SECONDS, PUSHES, COUNTED = 5, 3.0, 20, 3_000
LIMIT: Final = 200
#: What the keys of the measurement may use; far more than they do, but for the limited ones.
ROOM = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9}
KEYS = {"requests": {"requests_per_minute": 10**6}, "both": ROOM}


def _limited(rounds: int) -> list[tuple[str, int]]:
    """Return a key for each round, with the number of concurrent clients."""
    return [(f"limited-{clients}-{n}", clients) for clients in (1, 16) for n in range(rounds)]


def run(rounds: int, directory: Path) -> Figures:
    """Everything, in one fleet."""
    with ExitStack() as stack:
        model = stack.enter_context(upstream(directory))
        load = Load(directory, cores())
        keys = KEYS | {name: {"requests_per_minute": LIMIT} for name, _ in _limited(rounds)}
        running = stack.enter_context(fleet(directory, f"http://127.0.0.1:{model.port}/v1", REPLICAS, keys))
        figures = Figures(facts(load) | _versions(), LIMIT)
        _carry(figures, running, model, load, rounds)
        _cost(figures, running)
        _hurt(figures, running, rounds)
        return figures


def _carry(figures: Figures, running: Fleet, served: measure.Server, load: Load, rounds: int) -> None:
    for model in MODELS:
        for number in range(rounds + 1):
            for replicas in (1, REPLICAS) if number % 2 else (REPLICAS, 1):
                one = throughput.carried(running, served, load, model, replicas, SECONDS)
                if number:  # the first round warms up
                    figures.carried.append(one)
            _say(f"{model}: round {number} of {rounds}")


def _cost(figures: Figures, running: Fleet) -> None:
    body = bodies.request("bench-small", stream=False, asks=False)
    costs.cost(running, body, "app", COUNTED // 4, costs.Idle(0, 0, 0, 0))
    figures.idle = costs.idle(running)
    figures.costs = [costs.cost(running, body, key, COUNTED, figures.idle) for key in ("app", *KEYS)]
    figures.forgetting = costs.forgetting(running)
    _say("Redis is counted")


def _hurt(figures: Figures, running: Fleet, rounds: int) -> None:
    small = bodies.request("bench-small", stream=False, asks=False)
    slow = bodies.request(SLOW, stream=False, asks=False)
    figures.pushed = [faults.pushed(running, small) for _ in range(PUSHES)]
    _say("policies are pushed")
    figures.passed = [
        (clients, faults.passed(running, small, key, 2 * LIMIT, clients)) for key, clients in _limited(rounds)
    ]
    _say("limits are reached")
    for number in range(rounds):
        figures.nothing.append(faults.nothing_happens(running, slow))
        figures.replica.append(faults.a_replica_dies(running, slow, number % REPLICAS))
        figures.node.append(faults.a_node_dies(running, slow))
        _say(f"killed: round {number + 1} of {rounds}")


def _versions() -> dict[str, str]:
    nginx = install.program("nginx", "nginx-light")
    return {"nginx": install.version(nginx, "-v"), "Redis": install.version("redis-server", "--version")}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all that is promised of replicas was seen, else 1; the figures are written either way."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=report.OUT)
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="idk-scale-") as folder:
            figures = run(options.rounds, Path(folder))
    except (install.Missing, measure.Broken) as exc:
        _say(f"the benchmark cannot run here: {exc}")
        return 1
    options.out.write_text(report.rendered(figures))
    _say(f"written to {options.out}")
    missed = list(report.broken(figures))
    for each in missed:
        _say(f"not as promised: {each}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
