"""A test that runs the tutorial as written: on the embedded model, from an empty home directory."""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy.demo.embedded.fetch import cache_folder
from tests.docs.blocks import blocks_of
from tests.docs.terminals import run, running

PAGE = "docs/tutorial/index.md"
#: The commands that the tutorial leaves running in other terminals, with their ports.
SERVERS = {"python -m proxy.demo.embedded\n": 8000, "idk serve\n": 8080}


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
    assert re.search(r"France \| Europe \| answer \| [01]\.\d+ \| certified", printed), printed
    assert re.search(r"(?:Fiji|Suriname) \| I don't know\. \| abstain \| 0\.\d+", printed), printed
