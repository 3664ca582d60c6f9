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

from gating.drift.watch import bets, held_back

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
#: Labels at half the target before the risk rises, as a certificate's route has them.
GOOD = (100, 1000)
#: Runs that stand in memory at once.
BATCH = 100


def alarms(risk: float, target: float, *, runs: int, horizon: int, seed: int = 0) -> Floats:
    """Return the number of labels (runs,) until each run's alarm; inf without an alarm within ``horizon`` labels."""
    rng = np.random.default_rng([seed, round(1e6 * risk), round(1e6 * target)])
    delays = []
    for start in range(0, runs, BATCH):
        wrong = rng.random((min(BATCH, runs - start), horizon)) < risk
        beyond = log_e_after_each(wrong, target) >= -np.log(DELTA)
        delays.append(np.where(beyond.any(axis=1), beyond.argmax(axis=1) + 1.0, np.inf))
    return np.concatenate(delays)


def log_e_after_each(wrong: NDArray[np.bool_], target: float) -> Floats:
    """Compute ``RiskWatch.log_e`` after each label for many runs at once: (…, n) -> the same shape."""
    bet = np.array(bets(target))
    steps = np.log1p(bet * (wrong[..., None] - target))
    grown = np.cumsum(steps, axis=-2)
    stake = held_back(np.arange(wrong.shape[-1] + 1))
    invested = np.log(stake[:-1] - stake[1:])[:, None]
    log_wealth = grown + np.logaddexp.accumulate(invested - (grown - steps), axis=-2)
    mean = np.logaddexp.reduce(log_wealth, axis=-1) - np.log(bet.size)
    evidence: Floats = np.logaddexp(mean, np.log(stake[1:]))
    return evidence


def stake_at_once(wrong: NDArray[np.bool_], target: float) -> Floats:
    """Compute the evidence with the whole stake invested before the first label: (runs, n) -> the same shape."""
    bet = np.array(bets(target))
    factor = 1.0 + bet * (wrong[..., None] - target)
    log_wealth: Floats = np.cumsum(np.log(factor), axis=1)
    return np.asarray(np.logaddexp.reduce(log_wealth, axis=-1) - np.log(bet.size))


def after_good(risk: float, target: float, good: int, *, runs: int, horizon: int) -> Floats:
    """Labels (2, runs) from the change to the alarm, by ``RiskWatch`` and with the stake put in at once.

    inf where none comes within ``horizon``, nan where it came before the change.
    """
    rng = np.random.default_rng([good, round(1e6 * risk), round(1e6 * target)])
    delays = []
    for start in range(0, runs, BATCH):
        n = min(BATCH, runs - start)
        wrong = np.hstack([rng.random((n, good)) < target / 2, rng.random((n, horizon)) < risk])
        for log_e in (log_e_after_each(wrong, target), stake_at_once(wrong, target)):
            beyond = log_e >= -np.log(DELTA)
            first = np.where(beyond.any(axis=1), beyond.argmax(axis=1) + 1.0 - good, np.inf)
            delays.append(np.where(first > 0, first, np.nan))
    return np.stack([np.concatenate(delays[0::2]), np.concatenate(delays[1::2])])


def late_rows(runs: int, target: float = 0.1) -> list[tuple[int, float, Floats]]:
    """Good labels, the risk after them, and the median delays (2,)."""
    table = []
    for good in GOOD:
        for rise in (1.5, 2.0, 3.0, 6.0):
            risk = round(target * rise, 4)
            delays = after_good(risk, target, good, runs=runs, horizon=HORIZON)
            medians = [np.median(each[~np.isnan(each)]) for each in delays]
            table.append((good, risk, np.array(medians)))
    return table


def rows(runs: int) -> list[tuple[float, float, float, Floats]]:
    """Target, true risk, share that alarms, and the quartiles (3,) of the delay."""
    table = []
    for target in TARGETS:
        for risk in (round(target * rise, 4) for rise in RISES):
            delays = alarms(risk, target, runs=runs, horizon=HORIZON)
            quartiles = np.quantile(delays, [0.25, 0.5, 0.75], method="inverted_cdf")
            table.append((target, risk, float(np.isfinite(delays).mean()), quartiles))
    return table


def report(
    table: Sequence[tuple[float, float, float, Floats]],
    late: Sequence[tuple[int, float, Floats]],
    runs: int,
    seconds: float,
) -> str:
    """Return the tables as Markdown."""
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
    lines.append(
        """
## After a good time

A target of 0.1, labels at a risk of 0.05, and then a higher one: the labels from there to the alarm, in the median.
Beside it, what they were if the whole stake stood on the first label (the mean of the products over all of them).

| good labels before | true risk after | RiskWatch | the stake at once |
| --- | --- | --- | --- |"""
    )
    for good, risk, medians in late:
        cells = " | ".join(f"{delay:.0f}" if np.isfinite(delay) else f"over {HORIZON:,}" for delay in medians)
        lines.append(f"| {good:,} | {risk} | {cells} |")
    return "\n".join([*lines, ""])


def broken(
    table: Sequence[tuple[float, float, float, Floats]], after: Sequence[tuple[int, float, Floats]]
) -> list[str]:
    """Return a sentence for each promise that the measurements do not keep."""
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
    slower = [
        f"risk {risk} after {good} good labels: {medians[0]:.0f} labels, {medians[1]:.0f} with the stake at once"
        for good, risk, medians in after
        if medians[0] > medians[1]
    ]
    return false + late + slower


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
    after = late_rows(options.runs // 5)
    text = report(table, after, options.runs, time.perf_counter() - started)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    for line in broken(table, after):
        print(line, file=sys.stderr)
    return 1 if broken(table, after) else 0


if __name__ == "__main__":
    sys.exit(main())
