"""The embedded model as a child process that serves OpenAI's API on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from proxy.demo.embedded.openmp import environment
from proxy.exceptions import RunError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO

    from proxy.demo.embedded.fetch import Weights

CHILD = Path(__file__).with_name("child.py")


class EmbeddedServer:
    """The embedded model's server as a context manager, sync or async; it answers at ``base_url`` for ``model``.

    ``port`` 0 takes a free one. ``slots`` requests are answered at the same time (``n`` may not be larger), each
    with ``context`` tokens;
    ``threads`` defaults to the CPUs that this process may use. A greedy answer repeats exactly only while no other
    request is answered at the same time: other requests in the batch change logprobs, and near ties with them. The
    child process writes to ``log``, or to an unnamed file that is removed with it. It ends with the context manager
    and with this process. Starting raises RunError.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        port: int = 0,
        slots: int = 4,
        context: int = 4096,
        threads: int | None = None,
        log: Path | None = None,
        start_s: float = 120.0,
        stop_s: float = 5.0,
    ) -> None:
        self.model = weights.name
        self._command = [
            # -P keeps this folder off the child's import path, where its names would shadow others.
            *(sys.executable, "-P", str(CHILD), f"--model={weights.path}", f"--alias={weights.name}"),
            *(f"--port={port}", f"--slots={slots}", f"--context={context}"),
            f"--threads={threads or usable_cpus()}",
        ]
        self._log_path = log
        self._start_s = start_s
        self._stop_s = stop_s
        self._base_url = ""
        self._pid: int | None = None
        self._cleanup = contextlib.ExitStack()

    @property
    def base_url(self) -> str:
        """The base URL, ``http://127.0.0.1:PORT/v1``, once the server has started."""
        if not self._base_url:
            raise RunError("the embedded model is not running: use EmbeddedServer as a context manager")
        return self._base_url

    @property
    def pid(self) -> int | None:
        """The process id of the child while it runs."""
        return self._pid

    def start(self) -> None:
        """Start the child and wait until the model answers; raise RunError with the end of its log if it does not."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise RunError("the embedded model needs xllamacpp: pip install 'idk-proxy[demo]'")
        deadline = time.monotonic() + self._start_s
        with contextlib.ExitStack() as undo:
            log = undo.enter_context(self._open_log())
            libraries = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="idk-")))
            child = subprocess.Popen(  # noqa: S603 - our own file, no shell
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(libraries),
                # A new session: Ctrl-C in a terminal reaches only the parent, which decides when the child ends.
                start_new_session=True,
            )
            undo.callback(end, child, self._stop_s)
            address = first_line(child, deadline)
            if not address or not answers(address, deadline):
                raise RunError(f"the embedded model did not start: {last_words(child, log)}")
            self._base_url, self._pid = f"{address}/v1", child.pid
            self._cleanup = undo.pop_all()

    def stop(self) -> None:
        """End the child and wait for it; do nothing when it is not running."""
        self._base_url, self._pid = "", None
        self._cleanup.close()

    def _open_log(self) -> IO[bytes]:
        return tempfile.TemporaryFile() if self._log_path is None else self._log_path.open("w+b")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def first_line(child: subprocess.Popen[str], deadline: float) -> str:
    """Read the address that the child prints when it listens; empty when it ended or the deadline passed."""
    assert child.stdout is not None  # noqa: S101 - Popen was given a pipe
    ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
    return child.stdout.readline().strip() if ready else ""


def answers(address: str, deadline: float) -> bool:
    """Return whether ``/health`` answers 200 in time; http.client is used because it ignores HTTP_PROXY."""
    left = max(0.1, deadline - time.monotonic())
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=left)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def last_words(child: subprocess.Popen[str], log: IO[bytes]) -> str:
    """Describe in one line how the child ended, with the end of its log."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1.0)
    how = "it was not ready in time" if child.returncode is None else f"exit status {child.returncode}"
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    log_text = "; ".join(line.strip() for line in lines if line.strip())
    return f"{how}: {log_text[-400:]}" if log_text else how


def end(child: subprocess.Popen[str], stop_s: float) -> None:
    """Close the child's standard input, which ends it; kill it if it does not end in ``stop_s``."""
    with child:  # closes the pipes and waits
        assert child.stdin is not None  # noqa: S101 - Popen was given a pipe
        child.stdin.close()
        try:
            child.wait(timeout=stop_s)
        except subprocess.TimeoutExpired:
            child.kill()
