"""A test that runs the tutorial as written: on the embedded model, from an empty home directory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.demo.embedded.fetch import cache_folder
from tests.docs.blocks import Block, blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = "docs/tutorial/index.md"
#: The commands that the tutorial leaves running in other terminals, with their ports.
SERVERS = {"python -m proxy.demo.embedded\n": 8000, "idk serve\n": 8080}
#: The first start may download the model.
START_S, BLOCK_S = 600.0, 600.0
POLL_S = 0.1


def listens(port: int) -> bool:
    """Return whether a server accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: str, port: int, folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Run a server of the tutorial, as in another terminal, until the end of the page."""
    assert not listens(port), f"port {port} is in use; the tutorial needs it"
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


def run(block: Block, folder: Path, env: Mapping[str, str]) -> str:
    """Run one block in a shell and return what it prints."""
    command = ["/bin/sh", "-euc", block.text]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=BLOCK_S, check=False
    )
    assert done.returncode == block.status, f"{block.place}: {block.text}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.model
def test_the_tutorial_ends_with_a_certified_route(tmp_path: Path) -> None:
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "IDK_MODEL"))
    }
    env = kept | {
        "HOME": str(tmp_path),
        "IDK_CACHE": str(cache_folder(os.environ)),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    folder, printed = tmp_path, ""
    blocks = blocks_of(PAGE)
    assert [block.line for block in blocks if block.reason] == [blocks[0].line], (
        "only the installation is left out"
    )
    with ExitStack() as servers:
        for block in blocks[1:]:
            if block.language != "sh":
                continue
            if block.text in SERVERS:
                servers.enter_context(running(block.text.strip(), SERVERS[block.text], folder, env))
                continue
            printed += run(block, folder, env)
            if block.text.endswith("cd ~/idk-tutorial\n"):
                folder = tmp_path / "idk-tutorial"
    assert "No threshold is certified for this target." in printed
    assert re.search(r"Certified: error <= 10\.0 %", printed), printed
    assert re.search(r"enforce by policy policy at confidence [\d.]+, certified", printed), printed
    assert re.search(r"France \| Europe \| answer \| 0\.\d+", printed), printed
    assert re.search(r"Suriname \| I don't know\. \| abstain \| 0\.\d+", printed), printed
