"""How soon the watch over a route's risk sees that it rose, and how often it cries where it did not.

    python -m tests.benchmarks.bench_drift [--runs 2000]

prints a table and writes it to tests/benchmarks/DRIFT.md.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gating.drift import log_e_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DELTA = 0.1
#: Longer than any delay that matters at a hundred labels a week.
HORIZON = 5000
TARGETS = (0.02, 0.05, 0.1, 0.2)
#: Times the target: at and below it every alarm is false.
RISES = (0.5, 1.0, 1.5, 2.0, 3.0)
#: Labels until an alarm in the median at a true risk, for a target of 0.1: no more than so many.
PROMISED = {0.15: 358, 0.2: 117, 0.3: 33}
#: Runs that stand in memory at once.
BATCH = 250


def alarms(risk: float, target: float, *, runs: int, horizon: int, seed: int = 0) -> Floats:
    """The label (runs,) at which each run alarms, from 1; inf where none does within ``horizon`` labels."""
    rng = np.random.default_rng([seed, round(1e6 * risk), round(1e6 * target)])
    delays = []
    for start in range(0, runs, BATCH):
        wrong = rng.random((min(BATCH, runs - start), horizon)) < risk
        beyond = log_e_values(wrong, target) >= -np.log(DELTA)
        delays.append(np.where(beyond.any(axis=1), beyond.argmax(axis=1) + 1.0, np.inf))
    return np.concatenate(delays)


def rows(runs: int) -> list[tuple[float, float, float, Floats]]:
    """Target, true risk, share that alarms, and the quartiles (3,) of the delay."""
    table = []
    for target in TARGETS:
        for risk in (round(target * rise, 4) for rise in RISES):
            delays = alarms(risk, target, runs=runs, horizon=HORIZON)
            quartiles = np.quantile(delays, [0.25, 0.5, 0.75], method="inverted_cdf")
            table.append((target, risk, float(np.isfinite(delays).mean()), quartiles))
    return table


def report(table: Sequence[tuple[float, float, float, Floats]], runs: int, seconds: float) -> str:
    """The table as Markdown."""
    lines = [
        f"""# How soon a risen risk is seen

`python -m tests.benchmarks.bench_drift --runs {runs}`: {runs} runs of {HORIZON:,} audit labels each,
delta = {DELTA}, {seconds:.0f} s; Python {platform.python_version()}, numpy {np.__version__}.

Every label is looked at. At a true risk up to the target each alarm is false, and at most {DELTA} of the runs may
raise one, however long they go on. The delay counts labels of served answers; "-" is none within the horizon.

| target | true risk | alarms | delay, first quartile | median | third quartile |
| --- | --- | --- | --- | --- | --- |"""
    ]
    for target, risk, share, quartiles in table:
        cells = " | ".join(f"{delay:.0f}" if np.isfinite(delay) else "-" for delay in quartiles)
        lines.append(f"| {target} | {risk} | {share:.3f} | {cells} |")
    return "\n".join([*lines, ""])


def broken(table: Sequence[tuple[float, float, float, Floats]]) -> list[str]:
    """What is not as promised, in words."""
    false = [
        f"target {target}: {share:.3f} false alarms at risk {risk}"
        for target, risk, share, _ in table
        if risk <= target and share > DELTA
    ]
    late = [
        f"risk {risk}: a median delay of {quartiles[1]:.0f} labels, not {PROMISED[risk]}"
        for target, risk, _, quartiles in table
        if target == 0.1 and quartiles[1] > PROMISED.get(risk, np.inf)
    ]
    return false + late


def main(argv: Sequence[str] | None = None) -> int:
    """Run every setting; 1 where alarms are false too often or come too late."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("DRIFT.md"))
    options = parser.parse_args(argv)
    started = time.perf_counter()
    table = rows(options.runs)
    text = report(table, options.runs, time.perf_counter() - started)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    for line in broken(table):
        print(line, file=sys.stderr)
    return 1 if broken(table) else 0


if __name__ == "__main__":
    sys.exit(main())
