"""``idk policy`` as a person runs it, on a store in a file."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from tests.proxy.policies import POLICY

STORE = ["--store", "sqlite:///idk.db"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").write_text(json.dumps(POLICY.to_dict()))
    (tmp_path / "plain.json").write_text(json.dumps({**POLICY.to_dict(), "certificate": None}))
    return tmp_path


def push(file="p.json", *more):
    assert run(["policy", "push", file, "--name", "support", "--who", "ada", *STORE, *more]) == 0


def said(capsys, *arguments):
    capsys.readouterr()
    assert run(["policy", *arguments, *STORE]) == 0
    return capsys.readouterr().out


def test_versions_are_pushed_listed_shown_and_rolled_back(folder, capsys):
    assert run(["policy", "list", *STORE]) == 1  # a command that reads creates no store
    assert "there is no such file" in capsys.readouterr().err
    assert not (folder / "idk.db").exists()
    push()
    assert capsys.readouterr().out.endswith("support@1 is in force\n")
    push("plain.json")
    listed = said(capsys, "list").splitlines()
    assert [line[:11] for line in listed] == ["* support@2", "  support@1"]
    assert "threshold 0.6, not certified" in listed[0]
    assert "certified at risk" in listed[1]
    assert said(capsys, "rollback", "support", "--who", "bob") == "support@1 is in force\n"
    shown = said(capsys, "show", "support@2").splitlines()
    assert shown[0].startswith("support@2: not in force")
    assert [line.split()[2:] for line in shown[1:]] == [
        ["rollback", "support@1", "bob"], ["push", "support@2", "ada"], ["push", "support@1", "ada"]
    ]  # fmt: skip
    assert said(capsys, "rollback", "support@2") == "support@2 is in force\n"


def test_json(folder, capsys):
    push("p.json", "--json")
    pushed = json.loads(capsys.readouterr().out)
    assert (pushed["policy"], pushed["name"], pushed["version"], pushed["in_force"], pushed["who"]) == (
        "support@1", "support", 1, True, "ada",
    )  # fmt: skip
    shown = json.loads(said(capsys, "show", "support", "--json"))
    assert shown == POLICY.to_dict()
    (folder / "again.json").write_text(json.dumps(shown))
    push("again.json", "--json")
    assert json.loads(capsys.readouterr().out)["policy"] == "support@2"
    assert json.loads(said(capsys, "list", "--json"))[0]["policy"] == "support@2"


def test_the_store_of_a_configuration(folder, capsys):
    (folder / "idk.yaml").write_text(
        "server: {store: 'sqlite:///other.db'}\nupstreams: {u: {base_url: http://h}}\n"
        "routes: [{name: r, models: [m], upstream: u}]"
    )
    assert run(["policy", "push", "p.json", "--name", "support"]) == 0
    assert (folder / "other.db").exists()
    assert run(["policy", "list"]) == 0
    assert "support@1" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (["push", "none.json", "--name", "s", *STORE], 2, "policy push: none.json: no such file"),
    (["push", "p.json", "--name", "s@3", *STORE], 2, "the store assigns the version"),
    (["push", "p.json", "--name", "s.json", *STORE], 2, "is not a policy's name"),
    (["push", "p.json", "--name", "s"], 2, "give --store URL"),
    (["push", "p.json", "--name", "s", "--store", "mysql://h"], 2, "store: mysql://h: give one of sqlite://"),
    (["push", "p.json", "--name", "s", "--store", "sqlite://idk.db"], 2, "a file after three slashes"),
    (["show", "s", *STORE], 1, "there is no such file"), (["rollback", "s", *STORE], 1, "no policy `s` to roll"),
    (["list", "--store", "redis://:secret@127.0.0.1:9/0"], 1, "redis://127.0.0.1:9/0: "),
    (["list", "--store", "redis+sentinel://127.0.0.1:9"], 2, "name the service"),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line(folder, capsys, arguments, status, message):
    assert run(["policy", *arguments]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "secret" not in error


def test_what_no_proxy_could_use_is_not_pushed(folder, capsys):
    (folder / "bad.json").write_text(json.dumps({**POLICY.to_dict(), "threshold": 3}))
    assert run(["policy", "push", "bad.json", "--name", "s", *STORE]) == 2
    assert "threshold" in capsys.readouterr().err
    assert not (folder / "idk.db").exists()
