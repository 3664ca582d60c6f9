"""`idk tune` on a million records: within a minute and two gigabytes.

    python -m tests.benchmarks.bench_tune [--records 1000000]

writes the records, tunes on them, and prints what was seen; 1 where it took longer or held more.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS, MEGABYTES = 60.0, 2000.0
TOKENS = 12


def write(path: Path, count: int) -> None:
    """Answers of TOKENS tokens with their logprobs, right by a logistic curve of their mean."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            logprobs = np.round(-rng.exponential(0.7, TOKENS), 4)
            right = rng.random() < 1 / (1 + np.exp(-6 * (logprobs.mean() + 0.7)))
            record = {
                "id": f"q{row}",
                "group": f"q{row}",
                "question": f"What is number {row}?",
                "answer": f"It is the number {row}, as far as is known.",
                "token_logprobs": logprobs.tolist(),
                "label": "correct" if right else "incorrect",
            }
            file.write(json.dumps(record) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 1 where it is not as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "records.jsonl", Path(folder) / "policy.json"
        write(path, options.records)
        command = ["tune", "--records", str(path), "--out", str(out), "--target-risk", "0.1", "--json"]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "proxy.cli.main", *command], check=False, stdout=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    held, cpu = used.ru_maxrss / 1000, used.ru_utime + used.ru_stime
    print(
        f"{options.records:,} records: {seconds:.1f} s ({cpu:.1f} s of one core), {held:,.0f} MB at most, "
        f"status {done.returncode}"
    )
    return int(done.returncode != 0 or seconds > SECONDS or held > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
