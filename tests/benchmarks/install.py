"""Puts what the benchmark needs on the machine, where a package manager has it; else says what is missing.

Nothing of it goes into the project's own environment: Python and npm packages live under one cache
directory (``IDK_BENCH_CACHE``), and Debian's packages are installed only when run as root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("IDK_BENCH_CACHE") or Path.home() / ".cache" / "idk-bench")
INSTALL_S = 900
# 1.82.7 and 1.82.8 were uploaded by a thief of the maintainers' credentials and steal secrets.
# Without opentelemetry-sdk the proxy retries a failing import on every request; without httptools
# uvicorn parses HTTP in Python. Both are installed, so that the comparison is with a tuned LiteLLM.
LITELLM = (
    "litellm[proxy]>=1.84,!=1.82.7,!=1.82.8,<2",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp",
    "httptools",
)


class Missing(Exception):
    """Something is not on this machine and cannot be installed here; the message says what and why."""


def program(name: str, package: str) -> str:
    """Return the path of a program from the Debian ``package``."""
    path = _which(name)
    if path is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise Missing(f"{name} is not installed: install {package}, or run as root where apt-get exists")
        _run("apt-get", "install", "-y", "--no-install-recommends", package)
        path = _which(name)
    if path is None:
        raise Missing(f"{name} is not installed, and the package {package} did not bring it")
    return path


def compiled(source: Path) -> Path:
    """Compile a C source of this package, if it is newer than the program, and return the program's path."""
    target = CACHE / "bin" / source.stem
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        _run(*_compiler(), "-O2", "-o", str(target), str(source))
    return target


def python_environment(name: str, *packages: str) -> Path:
    """Return the ``bin`` directory of a separate virtual environment with these packages."""
    home = CACHE / name
    done = home / ".installed"
    if not done.exists() or done.read_text() != "\n".join(packages):
        if not (home / "bin" / "python").exists():
            _run(sys.executable, "-m", "venv", str(home))
        _run(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages)
        done.write_text("\n".join(packages))
    return home / "bin"


def npm_package(name: str) -> Path:
    """Install an npm package under the cache and return its directory."""
    home = CACHE / "npm"
    path = home / "node_modules" / name
    if not path.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise Missing(f"npm is not installed, so {name} cannot be")
        home.mkdir(parents=True, exist_ok=True)
        _run(npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", name)
    return path


def version(*command: str) -> str:
    """Return the first version number that a command prints."""
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"\d+(\.\d+)+", answer.stdout + answer.stderr)
    return found.group() if found else "unknown"


def python_version(bin_dir: Path, package: str) -> str:
    """Return the version of a package in the environment of ``bin_dir``."""
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    return version(str(bin_dir / "python"), "-c", script)


def npm_version(path: Path) -> str:
    """Return the version in the manifest of an npm package."""
    return str(json.loads((path / "package.json").read_text())["version"])


def _which(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _compiler() -> list[str]:
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    # A whole C compiler that pip can install, for machines that have none.
    return [str(python_environment("zig", "ziglang>=0.13,<1") / "python"), "-m", "ziglang", "cc"]


def _run(*command: str) -> None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Missing(f"{command[0]}: {exc}") from exc
    if answer.returncode:
        last = (answer.stderr or answer.stdout).strip().splitlines()[-1:] or ["no message"]
        raise Missing(f"{' '.join(command[:4])} failed: {last[0]}")
