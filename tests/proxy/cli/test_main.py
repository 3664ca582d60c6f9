"""The command's exit: 0 where all went well, 1 for work that failed, 2 for bad usage, and one line that says why."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from proxy.cli import main
from proxy.exceptions import BadRequest, ConfigError, RunError

COMMANDS = [command.name for command in main.app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    assert main.run([command, "--help"]) == 0
    assert f"idk {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["check", "--nonsense"], ["serve", "--port", "x"], []])
def test_bad_usage(capsys, arguments):
    assert main.run(arguments) == 2
    said = capsys.readouterr()
    assert "Usage: " in said.out + said.err


@pytest.mark.parametrize(("error", "status", "said"), [
    (ConfigError("f.yaml: a\n  b"), 2, "idk: f.yaml: a b\n"), (RunError("it failed"), 1, "idk: it failed\n"),
    (BadRequest("refused"), 1, "idk: refused\n"), (KeyboardInterrupt(), 130, ""), (SystemExit(3), 3, ""),
    (SystemExit(None), 0, ""),
])  # fmt: skip
def test_each_failure_has_its_status_and_one_line(monkeypatch, capsys, error, status, said):
    def fail(_arguments, **_):
        raise error

    monkeypatch.setattr(main, "app", fail)
    assert main.run([]) == status
    assert capsys.readouterr().err == said


def test_a_command_that_returns_is_a_success(monkeypatch):
    monkeypatch.setattr(main, "app", lambda _arguments, **_: None)
    assert main.run([]) == 0


def test_a_defect_is_not_taken_for_a_failure(monkeypatch):
    def fail(_arguments, **_):
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", fail)
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
