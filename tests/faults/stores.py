"""Faults of the store: each has a way to start it and a way to end it."""

from __future__ import annotations

import resource
import signal
import sqlite3
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tests.proxy.storage.redis_servers import Server, alone, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class Harm(Protocol):
    """A fault of a store that a test can begin and end."""

    #: The value of ``server.store``.
    url: str

    def begin(self, pid: int) -> None:
        """Begin the fault; ``pid`` is the proxy process."""

    def end(self, pid: int) -> None:
        """End the fault."""


class Fault(NamedTuple):
    """``harm(folder)`` makes its servers; what it promises about errors and healing stands beside it."""

    harm: Callable[[Path], AbstractContextManager[Harm]]
    #: Whether the proxy is started before the fault begins.
    runs_before: bool = True
    #: Whether operations fail during the fault; a store that loses its data does not fail.
    fails: bool = True
    #: Whether what is decided afterwards is recorded again.
    heals: bool = True


class _Redis:
    """A Redis server with the fault that ``how`` names: a method of this class."""

    def __init__(self, server: Server, how: str) -> None:
        self.server = server
        self.url = f"redis://127.0.0.1:{server.port}/0"
        self._how = how

    def begin(self, pid: int) -> None:
        getattr(self, f"_{self._how}")()

    def end(self, pid: int) -> None:
        getattr(self, f"_un_{self._how}", lambda: None)()

    def _kill(self) -> None:
        self.server.kill()

    def _un_kill(self) -> None:
        self.server.start()

    def _restart(self) -> None:
        self.server.kill()
        self.server.start()

    def _stop(self) -> None:
        self.server.signal(signal.SIGSTOP)

    def _un_stop(self) -> None:
        self.server.signal(signal.SIGCONT)

    def _flush(self) -> None:
        with self.server.client() as client:
            client.flushall()

    def _fill(self) -> None:
        with self.server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "100kb")

    def _un_fill(self) -> None:
        with self.server.client() as client:
            client.config_set("maxmemory", "0")


def _redis(how: str) -> Callable[[Path], AbstractContextManager[Harm]]:
    @contextmanager
    def made(folder: Path) -> Iterator[Harm]:
        with alone(folder / "redis") as server:
            try:
                yield _Redis(server, how)
            finally:
                server.signal(signal.SIGCONT)

    return made


class _Failover:
    """Two servers and a Sentinel: the first dies, the second takes its place."""

    def __init__(self, url: str, master: Server) -> None:
        self.url = url
        self._master = master

    def begin(self, pid: int) -> None:
        self._master.kill()

    def end(self, pid: int) -> None:
        """Do nothing: the Sentinel promotes the replica."""


@contextmanager
def _failover(folder: Path) -> Iterator[Harm]:
    with ExitStack() as stack:
        master = stack.enter_context(alone(folder / "one"))
        replica = stack.enter_context(
            alone(
                folder / "two", "--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0"
            )
        )
        sentinel = stack.enter_context(Server(folder / "sentinel", sentinel=True))
        wait_for(sentinel.answers, "the Sentinel does not start")
        with replica.client() as client:
            wait_for(lambda: client.info("replication")["master_link_status"] == "up", "no replica")
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", str(master.port), "1")
            for name, value in (("down-after-milliseconds", "500"), ("failover-timeout", "2000")):
                client.execute_command("SENTINEL", "SET", "mymaster", name, value)
            wait_for(lambda: client.sentinel_slaves("mymaster"), "the Sentinel knows no replica")
        yield _Failover(f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster", master)


class _Sqlite:
    """A SQLite file with the fault that ``how`` names: a method of this class."""

    url = "sqlite:///idk.db"

    def __init__(self, folder: Path, how: str) -> None:
        self._path = folder / "idk.db"
        self._how = how
        self._other: sqlite3.Connection | None = None

    def begin(self, pid: int) -> None:
        getattr(self, f"_{self._how}")(pid)

    def end(self, pid: int) -> None:
        getattr(self, f"_un_{self._how}")(pid)

    def _lock(self, pid: int) -> None:
        self._other = sqlite3.connect(self._path, isolation_level=None)
        self._other.execute("BEGIN IMMEDIATE")

    def _un_lock(self, pid: int) -> None:
        assert self._other is not None
        self._other.rollback()
        self._other.close()

    def _corrupt(self, pid: int) -> None:
        """Move the log into the file, then overwrite the file with noise from its first byte."""
        with sqlite3.connect(self._path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        self._whole = self._path.read_bytes()
        with self._path.open("r+b") as file:
            file.write(bytes(range(256)) * (len(self._whole) // 256))

    def _un_corrupt(self, pid: int) -> None:
        """As from a copy."""
        with self._path.open("r+b") as file:
            file.write(self._whole)

    def _fill(self, pid: int) -> None:
        """Forbid the process to extend files, so that each write fails as on a full disk."""
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))

    def _un_fill(self, pid: int) -> None:
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


def _sqlite(how: str) -> Callable[[Path], AbstractContextManager[Harm]]:
    @contextmanager
    def made(folder: Path) -> Iterator[Harm]:
        yield _Sqlite(folder, how)

    return made


class _Nowhere:
    """A folder in which no user, root included, can create a file."""

    url = "sqlite:////proc/idk.db"

    def begin(self, pid: int) -> None:
        """Do nothing: the folder is not writable from the start."""

    def end(self, pid: int) -> None:
        """Do nothing: the folder stays not writable."""


@contextmanager
def _read_only(_: Path) -> Iterator[Harm]:
    yield _Nowhere()


FAULTS: Final[dict[str, Fault]] = {
    "Redis is down at the start": Fault(_redis("kill"), runs_before=False),
    "Redis dies": Fault(_redis("kill")),
    "Redis is stopped and says nothing": Fault(_redis("stop")),
    "Redis is restarted": Fault(_redis("restart"), fails=False),
    "Redis is emptied": Fault(_redis("flush"), fails=False),
    "Redis is full": Fault(_redis("fill")),
    "Redis fails over to its replica": Fault(_failover),
    "SQLite: locked by another process": Fault(_sqlite("lock")),
    "SQLite: the file is noise": Fault(_sqlite("corrupt")),
    "SQLite: the disk is full": Fault(_sqlite("fill")),
    "SQLite: a folder that cannot be written": Fault(_read_only, runs_before=False, heals=False),
}
