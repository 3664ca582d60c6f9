"""How far a long command has come, in steps: a bar on a terminal, one line in ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_EVERY_S = 10.0


class Steps:
    """Progress of ``total`` steps under a title, as a context manager; on standard error."""

    def __init__(
        self,
        title: str,
        total: int,
        *,
        done: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._total, self._done = title, total, done
        self._clock = clock
        self._console = console or Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, note="")
        self._last_line = clock()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, note: str = "") -> None:
        """One more is done; ``note`` is said beside the bar."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, note=note)
        now = self._clock()
        if not self._console.is_terminal and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._console.print(f"{self._title}: {self._done:,} of {self._total:,} {note}".rstrip())
