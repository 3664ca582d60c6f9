"""Several worker processes behind one port, run by uvicorn's supervisor, which replaces a worker that dies.

The workers inherit the listening socket, so a connection that one worker did not accept waits for another. Their
metrics are summed over files in a temporary directory (prometheus_client's multiprocess mode).
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from uvicorn.supervisors import Multiprocess

from proxy.metrics import SHARED, Metrics, remove_dead_processes
from proxy.server.protocol import address_of, config_of, settle_memory
from proxy.server.shutdown import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.config import Server
    from proxy.server.protocol import Announce


def run(settings: Server, make: Callable[[Metrics], object], announce: Announce = lambda _: None) -> None:
    """Serve with ``server.workers`` processes until a signal ends them.

    ``make`` builds one worker's ASGI application; it is pickled, since each worker is a new process. Raises SystemExit
    where the port is taken.
    """
    config = config_of(partial(_application, make), settings, factory=True)
    supervisor = _Supervisor(config, [])  # handles signals from here on, before the port is announced
    with ExitStack() as stack:
        listener = stack.enter_context(config.bind_socket())
        listener.listen(config.backlog)  # connections queue from here on, until a worker accepts them
        supervisor.sockets.append(listener)
        announce(address_of(config, listener))
        # Set before a worker imports prometheus_client, which reads it once.
        os.environ[SHARED] = stack.enter_context(tempfile.TemporaryDirectory(prefix="idk-metrics-"))
        supervisor.run()


def _application(make: Callable[[Metrics], object]) -> object:
    """Build the application of one worker, in that worker's process."""
    end_with_parent()
    directory = os.environ[SHARED]
    remove_dead_processes(directory)
    app = make(Metrics(directory=directory))
    settle_memory()
    return app


@contextmanager
def _without_hangups() -> Iterator[None]:
    """Block SIGHUP: a worker that starts inside inherits this, since SIGHUP before its handler is set would end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Supervisor(Multiprocess):
    def init_processes(self) -> None:
        with _without_hangups():
            super().init_processes()
        self._close_child_pipes()

    def keep_subprocess_alive(self) -> None:
        with _without_hangups():
            super().keep_subprocess_alive()
        self._close_child_pipes()

    def _close_child_pipes(self) -> None:
        # With the workers' pipe ends open here too, a worker that dies before its first answer would be waited for
        # as long as one that hangs.
        for process in self.processes:
            process.child_conn.close()

    def terminate_all(self) -> None:
        # New connections are refused from here on, as with a single process. The workers have their own copies of
        # the listeners and shut down gracefully.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def handle_hup(self) -> None:
        # Uvicorn would restart the workers; each of ours reloads the configuration itself.
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)
