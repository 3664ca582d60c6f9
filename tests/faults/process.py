"""What a process holds, read from /proc: its sockets, its memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakes import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id."""

    pid: int

    def sockets(self) -> int:
        """Return the number of open sockets."""
        found = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found += str(link.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue  # closed while we looked
        return found

    def descriptors(self) -> int:
        """Return the number of open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def rss_mb(self) -> float:
        """Return the resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @staticmethod
    def settles(holds: Callable[[], bool]) -> bool:
        """Return whether a condition becomes true within the deadline."""
        until = time.monotonic() + DEADLINE_S
        while not holds():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True
