"""Run ``idk evaluate`` in process against an upstream, as several tests do."""

from __future__ import annotations

import json

from proxy.cli.main import run


def questions(folder, rows):
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluate(folder, upstream, rows, *options, **route):
    out = folder / "records.jsonl"
    config = upstream.config(folder, **route)
    arguments = ["--config", str(config), "--route", "support", "--data", str(questions(folder, rows))]
    status = run(["evaluate", *arguments, "--out", str(out), *options])
    written = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return status, [json.loads(line) for line in written]
