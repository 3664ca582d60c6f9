"""Several processes behind one port, by uvicorn's supervisor: one that dies is replaced, the others go on.

They inherit the listening socket, so that a connection no process has taken yet waits for another. Their
metrics are summed over files in a directory of their own (prometheus_client's multiprocess mode).
"""

from __future__ import annotations

import os
import signal
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from uvicorn.supervisors import Multiprocess

from proxy.leaving import end_with_parent
from proxy.metrics import SHARED, Metrics, forget_the_dead
from proxy.server import config_of, settle_memory

if TYPE_CHECKING:
    from proxy.app import App, Setting


def run(setting: Setting) -> None:
    """Serve with ``server.workers`` processes until told to stop; SystemExit where the port cannot be had."""
    config = config_of(partial(application, setting), setting.config.server, factory=True)
    listener = config.bind_socket()
    listener.listen(config.backlog)  # from now on connections wait, whoever of the workers is there
    with listener, tempfile.TemporaryDirectory(prefix="idk-metrics-") as directory:
        os.environ[SHARED] = directory  # before a worker imports prometheus_client, which looks at it once
        _Supervisor(config, [listener]).run()


def application(setting: Setting) -> App:
    """One worker's application."""
    from proxy import app

    end_with_parent()
    directory = os.environ[SHARED]
    forget_the_dead(directory)
    made = app.application(setting, os.environ, Metrics(directory=directory))
    settle_memory()
    return made


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        # Connections that would only wait for the end are refused instead, as with a single process; the workers
        # have listeners of their own, and leave in order.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def handle_hup(self) -> None:
        # Uvicorn would restart them all; each takes up the changed configuration by itself.
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)
