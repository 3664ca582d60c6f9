"""Execute the Dockerfile's steps without an engine: ``python -m tests.deploy.image_steps [ROOT]``.

Each stage is a folder, and absolute paths that the Dockerfile creates are mapped into it. COPY copies, RUN runs in a
shell with the stage's ARG and ENV, and the health check runs against the command that the image starts, as the image's
user if this script runs as root. The base image is not covered: its Python is this machine's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parent.parent.parent
#: Absolute paths that the Dockerfile creates; all others belong to the base image.
_MADE: Final = re.compile(r"(?<![\w./-])/(?=(?:opt|src|dist|var/lib/idk)\b)")
#: The installed size with all dependencies, without the base image.
MOST_MB: Final = 125
UP_S: Final = 60
CONFIG: Final = """
server: {open: true, store: "sqlite:///STORE/idk.db"}
upstreams: {model: {base_url: "http://127.0.0.1:9/v1"}}
routes: [{name: default, models: ["*"], upstream: model, scorers: [mean_logprob]}]
"""


@dataclass(slots=True)
class Stage:
    """One FROM: its folder, and the settings of its lines so far."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    user: str = "0:0"

    def inside(self, text: str) -> str:
        """Return the text with the paths that the Dockerfile creates mapped into the stage."""
        return _MADE.sub(f"{self.root}/", text)

    def at(self, path: str) -> Path:
        """Return the file of a path in COPY or WORKDIR."""
        return self.root / (path if path.startswith("/") else f"{self.folder}/{path}").lstrip("/")


def lines_of(text: str) -> list[tuple[str, str]]:
    """Return instruction and arguments of each line, without comments and with continuations joined."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", kept)
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def execute(dockerfile: str, root: Path) -> Stage:
    """Execute every step of every stage and return the last stage."""
    stages: dict[str, Stage] = {}
    stage = Stage(root)
    for instruction, rest in lines_of(dockerfile):
        if instruction == "FROM":
            name = rest.split(" AS ")[1] if " AS " in rest else "image"
            stage = stages[name] = Stage(root / name)
            stage.root.mkdir(parents=True)
        else:
            _step(stage, stages, instruction, rest)
    return stage


def _step(stage: Stage, stages: dict[str, Stage], instruction: str, rest: str) -> None:
    match instruction:
        case "ARG" | "ENV":
            for each in shlex.split(rest):
                key, _, value = each.partition("=")
                stage.env[key] = stage.inside(value).replace("$PATH", os.environ["PATH"])
        case "WORKDIR":
            stage.folder = rest
            stage.at(".").mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(stage, stages, shlex.split(rest))
        case "RUN":
            print(f"RUN {rest[:100]}", flush=True)
            script = f"umask 022; {stage.inside(rest)}"
            where = stage.at(".")
            subprocess.run(["/bin/sh", "-euc", script], cwd=where, env=_environ(stage), check=True)
        case "HEALTHCHECK":
            stage.health = json.loads(rest.split("CMD", 1)[1])
        case "ENTRYPOINT" | "CMD":
            stage.command += json.loads(rest)
        case "USER":
            stage.user = rest
        case "LABEL" | "EXPOSE" | "STOPSIGNAL":
            pass
        case _:
            raise SystemExit(
                f"image-steps: {instruction} is not implemented; add it to tests/deploy/image_steps.py"
            )


def _environ(stage: Stage) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, **stage.env}


def _copy(stage: Stage, stages: dict[str, Stage], words: list[str]) -> None:
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    *sources, target = [word for word in words if not word.startswith("--")]
    where = stage.at(target)
    for source in sources:
        path = stages[options["from"]].at(source) if "from" in options else REPOSITORY / source
        if path.is_dir():
            shutil.copytree(path, where, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copied = where / path.name if target.endswith("/") else where
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)
        if "chown" in options and os.geteuid() == 0:
            shutil.chown(where, *map(int, options["chown"].split(":")))


def megabytes(folder: Path) -> float:
    """Return the size of the files of a folder in 10^6 bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def serve_and_ask(stage: Stage, built: Path) -> None:
    """Start the image's command as its user, on its port, and wait until its health check passes."""
    (config := stage.root / "idk.yaml").write_text(CONFIG.replace("STORE", str(stage.at("."))))
    python = str(built / "opt/idk/bin/python")
    command = [str(built / "opt/idk/bin/idk"), *stage.command[1:]]
    command = [str(config) if word == "/etc/idk/idk.yaml" else word for word in command]
    ids = stage.user.split(":")
    as_user = ["setpriv", "--reuid", ids[0], "--regid", ids[1], "--clear-groups", "--no-new-privs"]
    lead = as_user if os.geteuid() == 0 else []
    server = subprocess.Popen([*lead, *command], cwd=stage.at("."), env=_environ(stage))
    try:
        deadline = time.monotonic() + UP_S
        while subprocess.run([python, *stage.health[1:]], stderr=subprocess.DEVNULL, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("image-steps: the health check never passed")
    finally:
        server.terminate()
        server.wait(UP_S)


def give_python(folder: Path) -> None:
    """Put a ``python`` on the PATH, as the base image has one. A script, not a link: venv resolves links."""
    folder.mkdir(parents=True)
    (folder / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (folder / "python").chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def main() -> None:
    """Execute the steps, measure the installed size, and run the health check."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="idk-image-"))
    root.chmod(0o755)
    give_python(root / "base")
    stage = execute((REPOSITORY / "Dockerfile").read_text(), root)
    size = megabytes(stage.root)
    print(f"image-steps: {size:.0f} MB over the base image (at most {MOST_MB})")
    if size > MOST_MB:
        raise SystemExit(1)
    serve_and_ask(stage, root / "build")
    print("image-steps: every RUN line was executed, and the health check passed as the image's user")
    if len(sys.argv) == 1:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
