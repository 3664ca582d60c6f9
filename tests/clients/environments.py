"""The clients' environments: ``python -m tests.clients.environments`` makes those that are not there yet.

Each client has its own, since several pin versions of one library that exclude each other. The versions are
bounded by the major that was tried; what was installed is printed, so that a failure names a version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

CACHE: Final = Path(os.environ.get("IDK_CLIENTS", Path.home() / ".cache" / "idk-clients"))
INSTALL_S: Final = 900
#: Script -> what pip installs for it. Three majors of OpenAI's client: the current one and the two before it.
PYTHON: Final = {
    "openai_3": ("openai>=3,<4",),
    "openai_2": ("openai>=2,<3",),
    "openai_1": ("openai>=1,<2", "httpx<1"),
    "anthropic": ("anthropic>=1,<3",),
    "instructor": ("instructor>=1.15,<2",),
    "langchain": ("langchain-openai>=1,<2",),
    "litellm": ("litellm>=1.84,!=1.82.7,!=1.82.8,<2",),
    "llama_index": ("llama-index-llms-openai-like>=0.8,<0.9",),
    "llm": ("llm>=0.30,<1",),
    "openai_agents": ("openai-agents>=0.20,<1",),
    "pydantic_ai": ("pydantic-ai-slim[openai]>=2,<3",),
}
#: Script -> what npm installs for it.
NODE: Final = {
    "openai": ("openai@^7",),
    "ai_sdk": ("ai@^7", "@ai-sdk/openai-compatible@^3", "zod@^4"),
}


class Missing(Exception):
    """An environment cannot be made here; the message says what to install."""


def python_of(name: str) -> Path:
    """Return the interpreter of a client's environment."""
    return CACHE / "python" / name / "bin" / "python"


def node_folder(name: str) -> Path:
    """Return the folder of a client's node_modules."""
    return CACHE / "node" / name


def make_python(name: str) -> str:
    """Make one if its packages are others than those asked for; gives a line that says what is there."""
    packages = PYTHON[name]
    home = CACHE / "python" / name
    done = home / ".installed"
    if not done.exists() or done.read_text() != "\n".join(packages):
        _run(sys.executable, "-m", "venv", "--clear", str(home))
        _run(
            str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages
        )
        done.write_text("\n".join(packages))
    listed = _run(str(python_of(name)), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    wanted = packages[0].partition("[")[0].partition(">")[0]
    return next(line for line in listed.splitlines() if line.startswith(f"{wanted}=="))


def make_node(name: str) -> str:
    """Install the environment of an npm client."""
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed: install Node 20 or later (Debian: nodejs, npm)")
    home = node_folder(name)
    done = home / ".installed"
    if not done.exists() or done.read_text() != "\n".join(NODE[name]):
        home.mkdir(parents=True, exist_ok=True)
        _run(npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", "--silent", *NODE[name])
        done.write_text("\n".join(NODE[name]))
    return f"npm: {', '.join(NODE[name])}"


def main() -> int:
    """Make all of them, two at a time; the exit status is 1 where one cannot be made."""
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        making = {f"python/{name}": pool.submit(make_python, name) for name in PYTHON}
        making |= {f"node/{name}": pool.submit(make_node, name) for name in NODE}
        for name, made in making.items():
            try:
                print(f"{name}: {made.result()}", flush=True)
            except Missing as exc:
                failed = 1
                print(f"{name}: {exc}", file=sys.stderr, flush=True)
    return failed


def _run(*command: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Missing(f"{command[0]}: {exc}") from exc
    if ran.returncode:
        last = (ran.stderr or ran.stdout).strip().splitlines()[-1:] or ["no message"]
        raise Missing(f"{' '.join(command)} failed: {last[0]}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
