"""A test that runs the README as written, from an empty folder, with ``api.openai.com`` on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
import yaml

from tests.docs.answering import upstream, write_questions
from tests.docs.blocks import Block, blocks_of
from tests.docs.terminals import run, running
from tests.docs.vendor import vendor

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT: Final = 8080
SERVER: Final = re.compile(r"^(idk serve\b.*)\n", re.MULTILINE)
#: The blocks that are left out: they install from the network, or take minutes and have tests elsewhere.
LEFT_OUT: Final = ("make demo", "python3 -m venv")


def test_the_readme_ends_with_an_enforced_route(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "vendor").mkdir()
    write_questions(folder)  # the reader's own
    left_out = [block.text for block in blocks_of("README.md") if block.reason]
    assert len(left_out) == len(LEFT_OUT)
    assert all(text.startswith(start) for text, start in zip(left_out, LEFT_OUT, strict=True))
    with (
        upstream() as model,
        vendor(address_of(model.base_url), tmp_path / "vendor") as reach,
        ExitStack() as stack,
    ):
        env = {
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OPENAI_API_KEY": "sk-of-the-reader",
            **reach,
        }
        printed = ""
        for block in blocks_of("README.md"):
            if block.reason is None:
                printed += READ[block.language](block, folder, env, stack)
    assert "Certified: error <= 5.0 %" in printed
    assert "enforce by policy policy" in printed
    assert "'decision': 'answer'" in printed or "'decision': 'abstain'" in printed


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def sh(block: Block, folder: Path, env: Mapping[str, str], stack: ExitStack) -> str:
    """Run the commands of a block; a server stays up until the next one."""
    printed = ""
    for part in SERVER.split(block.text):
        if part.startswith("idk serve"):
            stack.close()
            stack.enter_context(running(part.partition("#")[0], PORT, folder, env))
            assert httpx.get(f"http://127.0.0.1:{PORT}/health/ready").status_code == 200
        elif part.strip():
            printed += run(block, folder, env, part)
    return printed


def python(block: Block, folder: Path, env: Mapping[str, str], stack: ExitStack) -> str:
    """Run a block in a new interpreter."""
    command = [sys.executable, "-W", "error", "-c", block.text]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{block.place}:\n{done.stderr}"
    return done.stdout


def edit(block: Block, folder: Path, env: Mapping[str, str], stack: ExitStack) -> str:
    """Put the sections of a block into idk.yaml, as the reader does with an editor."""
    path = folder / "idk.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | yaml.safe_load(block.text)))
    return ""


def read_json(block: Block, folder: Path, env: Mapping[str, str], stack: ExitStack) -> str:
    """Read a block of JSON."""
    json.loads(block.text)
    return ""


READ: Final = {"sh": sh, "python": python, "yaml": edit, "json": read_json}
