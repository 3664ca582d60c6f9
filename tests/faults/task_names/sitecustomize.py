"""Startup code for a server under test: on SIGUSR2, it writes the names of its asyncio tasks to a file."""

import asyncio
import os
import signal
from pathlib import Path


def _write_names(*_: object) -> None:
    """Write the names of the tasks to the file, which appears when it is complete."""
    path = Path(os.environ["IDK_TEST_TASKS"])
    beside = path.with_suffix(".new")
    beside.write_text(
        "\n".join(sorted(getattr(each.get_coro(), "__qualname__", "?") for each in asyncio.all_tasks()))
    )
    beside.replace(path)


signal.signal(signal.SIGUSR2, _write_names)
