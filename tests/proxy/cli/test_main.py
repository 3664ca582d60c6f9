"""The command's exit: 0 where all went well, 1 for work that failed, 2 for bad usage, and one line that says why."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

from proxy.cli import main
from proxy.exceptions import BadRequest, ConfigError, RunError


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_explains_itself(capsys, command):
    assert main.run([command, "--help"]) == 0
    assert f"idk {command}" in capsys.readouterr().out


def test_help_tells_of_every_command(capsys):
    assert main.run(["--help"]) == 0
    said = capsys.readouterr().out
    assert set(re.findall(r"^  (\S+)", said.partition("Commands:")[2], re.MULTILINE)) == {*main.COMMANDS}
    assert "..." not in said.partition("Commands:")[2]


def test_a_command_is_started_without_the_others():
    code = "import sys; from proxy.cli.main import run; run(['score', '--help']); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "proxy.cli.score" in found
    assert not {"proxy.cli.tune", "proxy.cli.serve", "proxy.app", "uvicorn"} & set(found)


@pytest.mark.parametrize("arguments", [["nonsense"], ["check", "--nonsense"], ["serve", "--port", "x"], []])
def test_bad_usage(capsys, arguments):
    assert main.run(arguments) == 2
    said = capsys.readouterr()
    assert "Usage: " in said.out + said.err


@pytest.mark.parametrize("arguments", [["-h"], ["check", "-h"], ["policy", "list", "-h"]])
def test_help_has_a_short_option(capsys, arguments):
    assert main.run(arguments) == 0
    assert "Usage: idk" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"idk {importlib.metadata.version('idk-proxy')}\n"


def test_a_shell_completes_commands():
    environ = {**os.environ, "_IDK_COMPLETE": "complete_bash", "COMP_WORDS": "idk po", "COMP_CWORD": "1"}
    code = "from proxy.cli.main import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False
    )
    assert found.stdout.split() == ["policy"], found.stderr


@pytest.mark.parametrize(("error", "status", "said"), [
    (ConfigError("f.yaml: a\n  b"), 2, "idk: f.yaml: a b\n"), (RunError("it failed"), 1, "idk: it failed\n"),
    (BadRequest("refused"), 1, "idk: refused\n"), (KeyboardInterrupt(), 130, ""), (SystemExit(3), 3, ""),
    (SystemExit(None), 0, ""),
])  # fmt: skip
def test_each_failure_has_its_status_and_one_line(monkeypatch, capsys, error, status, said):
    def fail(_arguments, **_):
        raise error

    monkeypatch.setattr(main, "application", lambda _first: fail)
    assert main.run([]) == status
    assert capsys.readouterr().err == said


def test_a_command_that_returns_is_a_success(monkeypatch):
    monkeypatch.setattr(main, "application", lambda _first: lambda _arguments, **_: None)
    assert main.run([]) == 0


def test_a_defect_is_not_taken_for_a_failure(monkeypatch):
    def fail(_arguments, **_):
        raise ZeroDivisionError

    monkeypatch.setattr(main, "application", lambda _first: fail)
    with pytest.raises(ZeroDivisionError):
        main.run([])


def test_the_command_is_installed_and_exits_with_its_status(monkeypatch):
    (entry,) = [
        script
        for script in importlib.metadata.distribution("idk-proxy").entry_points
        if script.group == "console_scripts"
    ]
    assert (entry.name, entry.load()) == ("idk", main.main)
    monkeypatch.setattr(sys, "argv", ["idk", "check", "--config", "/nowhere/idk.yaml"])
    with pytest.raises(SystemExit) as raised:
        main.main()
    assert raised.value.code == 2
