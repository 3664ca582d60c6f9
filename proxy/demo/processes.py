"""``idk serve`` as separate processes, as in production."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Found = TypeVar("Found")

_LISTENING = re.compile(r"running on (http://\S+)")
_STARTING_S = 60.0
_ENDING_S = 15.0


@contextmanager
def running_servers(config: Path, environ: Mapping[str, str], count: int = 1) -> Iterator[list[str]]:
    """Run ``count`` servers of one configuration; yield their addresses. Raises RunError where one does not start."""
    with ExitStack() as stack:
        yield [stack.enter_context(_one(config, environ, number)) for number in range(count)]


@contextmanager
def _one(config: Path, environ: Mapping[str, str], number: int) -> Iterator[str]:
    log = config.with_name(f"{config.stem}-{number}.log")
    command = [sys.executable, "-m", "proxy.cli.main", "serve", "--config", str(config), "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=dict(environ), stdout=file, stderr=file)  # noqa: S603 - our own command
        try:
            yield wait_for(lambda: _address(process, log), "idk serve to listen", _STARTING_S)
        finally:
            process.terminate()
            try:
                process.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str | None:
    output = log.read_text(encoding="utf-8", errors="replace")
    if process.poll() is not None:
        raise RunError(f"idk serve exited: {output.strip().splitlines()[-1:]}")
    found = _LISTENING.search(output)
    return None if found is None else found[1]


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = 20.0) -> Found:
    """Call ``look`` until it returns a true value, and return that; raise RunError after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise RunError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def metric(url: str, name: str, **labels: str) -> float | None:
    """Read a sample from a server's metrics; None where there is no such sample."""
    # The server is on the loopback: HTTP_PROXY of the environment does not apply.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/metrics", timeout=10) as response:
        text = response.read().decode()
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    for found, given, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        if found == name and wanted <= set(given.split(",")):
            return float(value)
    return None
