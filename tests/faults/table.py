"""``python -m tests.faults.table``: the record of `make test-faults` as tests/RELIABILITY.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

RESULT: Final = Path(__file__).parent.parent / "RELIABILITY.md"
HEAD: Final = """# What was tried against it

Written by `make test-faults`: real processes, faults injected by the upstream itself, by a small TCP proxy between
client, proxy and upstream, and by signals. Each fault is tried by chat and by responses, whole and streamed, on a
route that enforces and on one that only observes. "Leaked" counts tries in which a withheld word reached the client on
a route that enforces, and "lost" those that had neither a right answer nor a right error by their deadline; a try of
either kind fails the suite, so a table that stands says 0. After a kind of fault the process has the sockets and the
tasks that it had, and its memory stays.

| fault | tries | what the client saw | leaked | lost |
| --- | --- | --- | --- | --- |
"""

#: What is tried by other targets: what, by which, and where its figures are.
ELSEWHERE: Final = (
    (
        "everything at once: faults, leaving clients, reloads, policies pushed and rolled back, labels",
        "soak",
        "[SOAK.md](benchmarks/SOAK.md): wrong releases, labels lost, memory and descriptors by the minute",
    ),
    (
        "a process killed 50 times while it writes",
        "test-crash",
        "no acknowledged label lost, no file corrupted, or it fails",
    ),
    (
        "hostile requests: slow, smuggled, deep, huge, compressed, strange",
        "test-hostile",
        "nothing of ours but 503 above 499, the process lives and gates, or it fails",
    ),
    (
        "how long such a request keeps all others waiting",
        "bench-hostile",
        "[HOSTILE.md](HOSTILE.md)",
    ),
    (
        "made-up configurations, policies, records, streams, logprobs, requests, answers, forms",
        "fuzz",
        "what once broke something is kept in `tests/fuzz/corpus` and replayed",
    ),
    (
        "four replicas, and a Redis Cluster whose node is killed",
        "bench-scale",
        "[SCALING.md](../deploy/SCALING.md): lost, late, counted",
    ),
    (
        "what may be read or reached, by whom",
        "test",
        "[threat-model.md](../docs/threat-model.md) names the test of each line",
    ),
)


def rendered(record: dict[str, dict[str, int]]) -> str:
    """Return the table, with a line for each fault."""
    lines = [
        f"| {fault} | {sum(seen.values())} | "
        + ", ".join(f"{outcome} {count}×" for outcome, count in sorted(seen.items()))
        + " | 0 | 0 |"
        for fault, seen in record.items()
    ]
    tries = sum(sum(seen.values()) for seen in record.values())
    return HEAD + "\n".join(lines) + f"\n\n{len(record)} faults, {tries} tries.\n" + _elsewhere()


def _elsewhere() -> str:
    lines = [f"| {what} | `make {target}` | {figures} |" for what, target, figures in ELSEWHERE]
    return (
        "\n## What else is tried\n\n| what | by | its figures |\n| --- | --- | --- |\n"
        + "\n".join(lines)
        + "\n"
    )


def main(path: str) -> None:
    """Read the record, write the table."""
    RESULT.write_text(rendered(json.loads(Path(path).read_text())))
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main(sys.argv[1])
