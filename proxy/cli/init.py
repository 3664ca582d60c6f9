"""The command ``idk init``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.output import print_line
from proxy.exceptions import ConfigError


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("idk.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented idk.yaml to start from."""
    from proxy.records import check_outputs, write

    text = files("proxy.cli").joinpath("idk.yaml").read_text(encoding="utf-8")
    check_outputs({"init": path}, {})
    if path.is_file() and not force:
        raise ConfigError(f"{path}: exists already; give another name, or --force to overwrite it")
    write(path, text, private=False)
    print_line(f"wrote {path}; check it with: idk check --config {path}")
