"""Starts a server on its core and reads what it costs: CPU and memory of its processes, time to the first 200."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TICKS = os.sysconf("SC_CLK_TCK")
START_S, STOP_S, REPLY_S = 120.0, 15.0, 30.0
SETTLE_S, SETTLED_CPU_S = 10.0, 0.02  # idle: at most two ticks of CPU in a quarter of a second


class Broken(Exception):
    """A server did not start, or answered wrongly; the message says what it did."""


def cores() -> tuple[str, str]:
    """Return the cores for the servers and for the load with its upstream, in taskset's notation."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Broken("two cores are needed: one for the server that is measured, one for the load")
    return str(usable[-1]), ",".join(map(str, usable[:-1]))


def pinned(core: str, *command: str) -> tuple[str, ...]:
    """Return the command, pinned to these cores where taskset exists."""
    taskset = shutil.which("taskset")
    return (taskset, "-c", core, *command) if taskset else command


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_open(port: int) -> None:
    """Wait until a server listens on the port; raises Broken after a timeout."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), REPLY_S).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise Broken(f"no server listens on port {port}") from None
            time.sleep(0.01)
        else:
            return


class Server:
    """A started process with its children; always ended by ``stop``."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, port: int) -> None:
        self.port = port
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_200(self, headers: Mapping[str, str], body: bytes) -> float:
        """Return the seconds from the start to the first status 200; raises Broken with the end of the log."""
        last = "nothing listened"
        while time.monotonic() < self._started + START_S and self._process.poll() is None:
            try:
                status, _ = post(self.port, headers, body)
            except (OSError, http.client.HTTPException) as exc:
                last = str(exc)
            else:
                if status == 200:
                    return time.monotonic() - self._started
                last = f"status {status}"
            time.sleep(0.002)
        log = self._log.read_text(errors="replace").strip()
        raise Broken(f"no 200 after the start: {last}; its log ends: {log[-300:] or 'empty'}")

    def cpu_s(self) -> float:
        """User and system seconds of the processes so far, those of children that ended included."""
        return cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory of the processes, in MB of 10^6 bytes."""
        return sum(memory_kb(pid, "VmRSS") for pid in _tree(self.pid)) * 1024 / 1e6

    def settle(self) -> None:
        """Wait until requests of the last load are finished, so that they do not count for the next."""
        deadline = time.monotonic() + SETTLE_S
        before = self.cpu_s()
        while time.monotonic() < deadline:
            time.sleep(0.25)
            after = self.cpu_s()
            if after - before <= SETTLED_CPU_S:
                return
            before = after

    def stop(self) -> None:
        """Ends the process, its children with it."""
        pids = _tree(self.pid)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        for pid in pids:
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.pid:  # still ours: the session began with the process
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def post(port: int, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Return status and body of one completion, on a separate connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REPLY_S)
    try:
        connection.request(
            "POST", "/v1/chat/completions", body, {"content-type": "application/json", **headers}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its children so far; 0 for one that has ended."""
    return sum(_cpu_ticks(each) for each in _tree(pid)) / TICKS


def memory_kb(pid: int, name: str) -> int:
    """Read a field of /proc/PID/status, in KiB; 0 for a process that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _cpu_ticks(pid: int) -> int:
    with suppress(OSError):
        # After the name, which may hold spaces: state is field 3, utime to cstime are fields 14 to 17.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0
