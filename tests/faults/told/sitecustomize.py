"""Loaded by a server's Python at its start, where a test wants it: at a signal it tells its tasks, and goes on."""

import asyncio
import os
import signal
from pathlib import Path


def _tell(*_: object) -> None:
    """In the loop's thread, between two steps; the file is there when it is whole."""
    told = Path(os.environ["IDK_TEST_TASKS"])
    beside = told.with_suffix(".new")
    beside.write_text("\n".join(sorted(each.get_coro().__qualname__ for each in asyncio.all_tasks())))
    beside.replace(told)


signal.signal(signal.SIGUSR2, _tell)
