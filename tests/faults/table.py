"""``python -m tests.faults.table``: the record of `make test-faults` as tests/RELIABILITY.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

RESULT: Final = Path(__file__).parent.parent / "RELIABILITY.md"
HEAD: Final = """# What was tried against it

Written by `make test-faults`: real processes, faults injected by the upstream itself, by a small TCP proxy between
client, proxy and upstream, and by signals. Each fault is tried whole and streamed, on a route that enforces and on
one that only observes. "Leaked" counts tries in which a withheld word reached the client on a route that enforces,
and "hung" those past their deadline; a try of either kind fails the suite, so a table that stands says 0.

| fault | tries | what the client saw | leaked | hung |
| --- | --- | --- | --- | --- |
"""


def rendered(record: dict[str, dict[str, int]]) -> str:
    """The table, a line for each fault."""
    lines = [
        f"| {fault} | {sum(seen.values())} | "
        + ", ".join(f"{outcome} {count}×" for outcome, count in sorted(seen.items()))
        + " | 0 | 0 |"
        for fault, seen in record.items()
    ]
    tries = sum(sum(seen.values()) for seen in record.values())
    return HEAD + "\n".join(lines) + f"\n\n{len(record)} faults, {tries} tries.\n"


def main(path: str) -> None:
    """Read the record, write the table."""
    RESULT.write_text(rendered(json.loads(Path(path).read_text())))
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main(sys.argv[1])
