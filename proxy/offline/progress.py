"""Progress of long work on standard error: a bar on a terminal, one line in ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often a line is printed where there is no terminal.
LINE_EVERY_S: Final = 10.0


def print_line(line: str) -> None:
    """Print one line on standard error, since standard output belongs to the command's result."""
    print(line, file=sys.stderr, flush=True)


class _Bar(ABC):
    """Progress of ``total`` units under a title, as a context manager; it may be updated at any rate."""

    def __init__(
        self,
        title: str,
        total: int,
        *,
        done: int = 0,
        tell: Callable[[str], None] = print_line,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._total, self._done = title, total, done
        self._tell = tell
        self._clock = clock
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *self._columns(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, note="")
        self._last_line = clock()

    @abstractmethod
    def _columns(self) -> tuple[ProgressColumn, ...]:
        """Return the columns beside the bar."""

    @abstractmethod
    def _amounts(self) -> str:
        """Return the finished and the total amount for a line."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _update(self, done: int, note: str) -> None:
        self._done = done
        self._bar.update(self._task, completed=done, note=note)
        now = self._clock()
        if not self._console.is_terminal and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._tell(f"{self._title}: {self._amounts()} {note}".rstrip())


class Steps(_Bar):
    """Progress in steps, with a note beside the bar."""

    def step(self, note: str = "") -> None:
        """Count one more finished step and show ``note``."""
        self._update(self._done + 1, note)

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return MofNCompleteColumn(), TimeRemainingColumn()

    def _amounts(self) -> str:
        return f"{self._done:,} of {self._total:,}"


class Bytes(_Bar):
    """Progress in bytes, with the speed of the transfer."""

    def at(self, done: int) -> None:
        """Set the number of bytes that have arrived."""
        self._update(done, "")

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn()

    def _amounts(self) -> str:
        return f"{self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB"
