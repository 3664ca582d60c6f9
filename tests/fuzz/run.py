"""``make fuzz``: many inputs for each target, for so many seconds in all; what breaks one is kept in the corpus.

python -m tests.fuzz.run [--seconds 120] [TARGET ...]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.corpus import CORPUS, keep
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.targets import Target

#: Examples of one run of hypothesis, which sees what it tried before in that run alone.
_ROUND = 500


@dataclass(slots=True)
class Round:
    """How many inputs were tried, and those that broke the property, the smallest last."""

    tried: int = 0
    broken: list[bytes] = field(default_factory=list)


def play(target: Target) -> Round:
    """Play one round; raise what is no failure of the target."""
    seen = Round()

    @settings(
        max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink), print_blob=False,
    )  # fmt: skip
    @given(target.inputs)
    def holds(content: bytes) -> None:
        seen.tried += 1
        try:
            target.check(content)
        except Exception:
            seen.broken.append(content)
            raise

    try:
        holds()
    except Exception:  # whatever it is, the property is broken
        if not seen.broken:
            raise
        traceback.print_exc(limit=-4)
    return seen


def fuzz(name: str, target: Target, seconds: float, folder: Path = CORPUS) -> Path | None:
    """Try inputs for so long; gives the file of the smallest one that broke the property, None where none did."""
    end = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < end:
        seen = play(target)
        tried += seen.tried
        if seen.broken:
            path = keep(name, seen.broken[-1], folder)
            print(f"{name}: broken by {seen.broken[-1][:300]!r}, kept as {path}", file=sys.stderr)
            return path
    print(f"{name}: {tried} inputs, none broke it")
    return None


def main() -> int:
    """Exit status 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    found = [fuzz(name, TARGETS[name], given.seconds / len(names)) for name in names]
    return int(any(path is not None for path in found))


if __name__ == "__main__":
    sys.exit(main())
