"""Several processes behind one port, by uvicorn's supervisor: one that dies is replaced, the others go on.

They inherit the listening socket, so that a connection no process has taken yet waits for another. Their
metrics are summed over files in a directory of their own (prometheus_client's multiprocess mode).
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from uvicorn.supervisors import Multiprocess

from proxy.metrics import SHARED, Metrics, forget_the_dead
from proxy.server.protocol import config_of, settle_memory
from proxy.server.shutdown import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.app import App, Setting


def run(setting: Setting) -> None:
    """Serve with ``server.workers`` processes until told to stop; SystemExit where the port cannot be had."""
    config = config_of(partial(application, setting), setting.config.server, factory=True)
    supervisor = _Supervisor(config, [])  # takes signals from now on, before anyone is told that it is there
    with ExitStack() as stack:
        listener = stack.enter_context(config.bind_socket())
        listener.listen(config.backlog)  # from now on connections wait, whoever of the workers is there
        supervisor.sockets.append(listener)
        # Before a worker imports prometheus_client, which looks at it once.
        os.environ[SHARED] = stack.enter_context(tempfile.TemporaryDirectory(prefix="idk-metrics-"))
        supervisor.run()


def application(setting: Setting) -> App:
    """One worker's application."""
    from proxy import app

    end_with_parent()
    directory = os.environ[SHARED]
    forget_the_dead(directory)
    made = app.application(setting, os.environ, Metrics(directory=directory))
    settle_memory()
    return made


@contextmanager
def _without_hangups() -> Iterator[None]:
    """A process started meanwhile inherits that it gets no SIGHUP before it asks for it, by which it would end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Supervisor(Multiprocess):
    def init_processes(self) -> None:
        with _without_hangups():
            super().init_processes()
        self._let_go()

    def keep_subprocess_alive(self) -> None:
        with _without_hangups():
            super().keep_subprocess_alive()
        self._let_go()

    def _let_go(self) -> None:
        # The workers' ends of their pipes: were they open here too, one that dies before it has answered would be
        # waited for as long as one that hangs.
        for process in self.processes:
            process.child_conn.close()

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
