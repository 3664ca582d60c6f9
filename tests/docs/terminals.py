"""Running the blocks of a page as a reader's terminals would: shells, and servers that stay up."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.docs.blocks import Block

#: The first start of the embedded model may download it.
START_S: Final = 600.0
BLOCK_S: Final = 1200.0
POLL_S: Final = 0.1


def listens(port: int) -> bool:
    """Return whether a server accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: str, port: int, folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Run a server as in another terminal; it listens inside the context."""
    assert not listens(port), f"port {port} is in use; the page needs it"
    server = subprocess.Popen(["/bin/sh", "-c", f"exec {command}"], cwd=folder, env=env)
    try:
        end = time.monotonic() + START_S
        while not listens(port):
            assert server.poll() is None, f"{command}: exit status {server.returncode}"
            assert time.monotonic() < end, f"{command}: does not listen"
            time.sleep(POLL_S)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def run(block: Block, folder: Path, env: Mapping[str, str], text: str | None = None) -> str:
    """Run a block, or a part of it, in a shell and return what it prints."""
    command = ["/bin/sh", "-euc", block.text if text is None else text]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=BLOCK_S, check=False
    )
    assert done.returncode == block.status, f"{block.place}: {command[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
