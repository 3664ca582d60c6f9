"""How far long work has come: a bar on a terminal, one line in ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LINE_EVERY_S = 10.0


def say(line: str) -> None:
    """One line for a person, on standard error: standard output belongs to a command's result."""
    print(line, file=sys.stderr, flush=True)


class Bytes:
    """Progress of ``total`` bytes under a title, as a context manager; ``at`` may be called at any rate."""

    def __init__(
        self,
        title: str,
        total: int,
        *,
        tell: Callable[[str], None] = say,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._total = total
        self._tell = tell
        self._clock = clock
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total)
        self._last_line = clock()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def at(self, done: int) -> None:
        """``done`` bytes are there."""
        self._bar.update(self._task, completed=done)
        if not self._console.is_terminal and self._clock() - self._last_line >= LINE_EVERY_S:
            self._last_line = self._clock()
            self._tell(f"{self._title}: {done / 1e6:.0f} of {self._total / 1e6:.0f} MB")
