"""What a server's loop has to do, seen from outside: the names of its asyncio tasks."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.process import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The one in which the server runs a request.
REQUEST: Final = "RequestResponseCycle.run_asgi"
_STARTUP: Final = Path(__file__).with_name("task_names")


class Tasks:
    """The tasks of a process that was started with ``environ``; the process writes their names into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "tasks"
        self.environ: Mapping[str, str] = {
            **os.environ, "PYTHONPATH": str(_STARTUP), "IDK_TEST_TASKS": str(self._file)
        }  # fmt: skip

    def at_rest(self, pid: int) -> list[str]:
        """Return the names of the tasks' coroutines, sorted, once no request is in flight."""
        names: list[str] = []

        def rests() -> bool:
            names[:] = self._of(pid)
            return REQUEST not in names

        assert Process.settles(rests), names
        return names

    def _of(self, pid: int) -> list[str]:
        self._file.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR2)
        assert Process.settles(self._file.exists), "the process does not write its task names"
        return self._file.read_text().splitlines()
