"""Runs ``idk evaluate`` in process against an upstream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from proxy.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.proxy.table_upstream import TableUpstream


def questions(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a file of questions."""
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluate(
    folder: Path, upstream: TableUpstream, rows: Iterable[Mapping[str, Any]], *options: str, **route: Any
) -> tuple[int, list[Any]]:
    """Evaluate the questions; return the exit status and the records."""
    out = folder / "records.jsonl"
    config = upstream.config(folder, **route)
    arguments = ["--config", str(config), "--route", "support", "--data", str(questions(folder, rows))]
    status = run(["evaluate", *arguments, "--out", str(out), *options])
    written = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return status, [json.loads(line) for line in written]
