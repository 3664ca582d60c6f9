"""Outputs of commands: no output replaces an input, another output or a device."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from proxy.cli import main

#: The commands that write a file, with their inputs as ``records`` and their output as the last argument.
COMMANDS = {
    "tune": ["tune", "--records", "{records}", "--threshold", "0.5", "--out"],
    "score": ["score", "--records", "{records}", "--policy", "{policy}", "--out"],
    "report": ["report", "--records", "{records}", "--policy", "{policy}", "--out"],
    "evaluate": ["evaluate", "--config", "{config}", "--route", "r", "--data", "{records}", "--out"],
    "export": ["label", "--store", "sqlite:///idk.db", "--route", "r", "export", "--out"],
}


def run(folder: Path, command: str, out: str) -> int:
    places = {name: str(folder / name) for name in ("records", "policy", "config")}
    return main.run([*(part.format_map(places) for part in COMMANDS[command]), out])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [
        {
            "id": str(n),
            "answer": "a",
            "token_logprobs": [-n / 100],
            "label": "correct" if n < 60 else "incorrect",
        }
        for n in range(120)
    ]
    (tmp_path / "records").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path, "tune", str(tmp_path / "policy")) == 0
    (tmp_path / "config").write_text("routes: []\n")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("out", [".", "", "absent/file"])
def test_an_output_that_is_no_file_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, out: str
) -> None:
    capsys.readouterr()
    assert run(folder, command, out) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--out" in said


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "export"])
def test_an_output_that_is_an_input_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = (folder / "records").read_bytes()
    capsys.readouterr()
    assert run(folder, command, str(folder / "records")) == 2
    assert "is also given as" in capsys.readouterr().err
    assert (folder / "records").read_bytes() == before


@pytest.mark.parametrize("command", ["tune", "score", "report"])
def test_a_device_stays_a_device(folder: Path, command: str) -> None:
    assert run(folder, command, "/dev/null") == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
