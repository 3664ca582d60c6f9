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
_TOLD: Final = Path(__file__).with_name("told")


class Tasks:
    """Those of one process at a time, which is started with ``environ``; its file is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "tasks"
        self.environ: Mapping[str, str] = {
            **os.environ, "PYTHONPATH": str(_TOLD), "IDK_TEST_TASKS": str(self._file)
        }  # fmt: skip

    def at_rest(self, pid: int) -> list[str]:
        """Their coroutines' names, sorted, once no request is under way."""
        told: list[str] = []

        def rests() -> bool:
            told[:] = self._of(pid)
            return REQUEST not in told

        assert Process.settles(rests), told
        return told

    def _of(self, pid: int) -> list[str]:
        self._file.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR2)
        assert Process.settles(self._file.exists), "it does not tell its tasks"
        return self._file.read_text().splitlines()
