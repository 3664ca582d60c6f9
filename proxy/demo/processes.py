"""``idk serve`` as processes of their own, as they run in earnest."""

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
def serving(config: Path, environ: Mapping[str, str], count: int = 1) -> Iterator[list[str]]:
    """The addresses of so many processes of one configuration; raises RunError where one does not start."""
    with ExitStack() as stack:
        yield [stack.enter_context(_one(config, environ, number)) for number in range(count)]


@contextmanager
def _one(config: Path, environ: Mapping[str, str], number: int) -> Iterator[str]:
    log = config.with_name(f"{config.stem}-{number}.log")
    command = [sys.executable, "-m", "proxy.cli.main", "serve", "--config", str(config), "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=dict(environ), stdout=file, stderr=file)  # noqa: S603 - ourselves
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
    said = log.read_text(encoding="utf-8", errors="replace")
    if process.poll() is not None:
        raise RunError(f"idk serve ended: {said.strip().splitlines()[-1:]}")
    found = _LISTENING.search(said)
    return None if found is None else found[1]


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = 20.0) -> Found:
    """What ``look`` finds once it finds something; raises RunError."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise RunError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def metric(url: str, name: str, **labels: str) -> float | None:
    """A sample of a process's metrics; None where there is none."""
    # The environment's proxies are for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/metrics", timeout=10) as response:
        text = response.read().decode()
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    for found, given, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        if found == name and wanted <= set(given.split(",")):
            return float(value)
    return None
