"""`idk store`: what a store holds, its backups, and copies between stores."""

from __future__ import annotations

import json
import sqlite3

import pytest

from proxy.cli.main import run

STORE = ["--store", "sqlite:///idk.db"]


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """Return a folder with a store that holds one key."""
    monkeypatch.chdir(tmp_path)
    assert run(["key", "create", "app", *STORE]) == 0
    capsys.readouterr()
    return tmp_path


def keys(capsys, store="sqlite:///idk.db"):
    assert run(["key", "list", "--json", "--store", store]) == 0
    return [key["name"] for key in json.loads(capsys.readouterr().out)]


def test_the_content_of_a_store_is_shown(folder, capsys):
    assert run(["store", "info", *STORE]) == 0
    said = capsys.readouterr().out
    assert "0 policy versions, 1 keys" in said
    assert "(current)" in said
    assert run(["store", "info", "--json", *STORE]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["keys"], found["file"]["decisions"]) == (1, 0)


def test_a_backup_is_restored(folder, capsys):
    assert run(["store", "backup", "copy.db", *STORE]) == 0
    assert (folder / "copy.db").stat().st_mode & 0o077 == 0
    assert run(["key", "create", "later", *STORE]) == 0
    assert run(["store", "restore", "copy.db", *STORE]) == 2  # the store is still there
    assert "stop the proxies and move it away first" in capsys.readouterr().err
    for name in ("idk.db", "idk.db-wal", "idk.db-shm"):
        (folder / name).unlink(missing_ok=True)
    assert run(["store", "restore", "copy.db", *STORE]) == 0
    capsys.readouterr()
    assert keys(capsys) == ["app"]


def test_a_backup_overwrites_nothing(folder, capsys):
    (folder / "mine").write_text("mine")
    assert run(["store", "backup", "mine", *STORE]) == 2
    assert "exists; name a new file" in capsys.readouterr().err
    assert (folder / "mine").read_text() == "mine"


def test_space_is_given_back_and_a_current_schema_is_left_alone(folder, capsys):
    assert run(["store", "vacuum", *STORE]) == 0
    assert "bytes after" in capsys.readouterr().out
    assert run(["store", "migrate", *STORE]) == 0
    assert "has the current schema" in capsys.readouterr().out


def test_a_store_is_copied(folder, capsys):
    assert run(["store", "copy", "sqlite:///idk.db", "sqlite:///other.db", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == 1
    assert keys(capsys, "sqlite:///other.db") == ["app"]
    assert run(["store", "copy", "sqlite:///idk.db", "sqlite:///other.db"]) == 1
    assert "is not empty; copy into a new store" in capsys.readouterr().err


def test_the_store_of_a_configuration_is_used(folder, capsys):
    (folder / "idk.yaml").write_text(
        "upstreams: {u: {base_url: http://127.0.0.1:9/v1}}\nroutes: [{name: r, models: [m], upstream: u}]\n"
    )
    assert run(["store", "info"]) == 0
    assert "1 keys" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["info", "vacuum", "migrate"])
def test_a_missing_store_is_not_created(folder, capsys, command):
    assert run(["store", command, "--store", "sqlite:///none.db"]) == 1
    assert not (folder / "none.db").exists()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["info", "vacuum", "migrate"])
def test_a_file_of_another_program_is_left_alone(folder, capsys, command):
    with sqlite3.connect(folder / "foreign.db") as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    connection.close()
    before = (folder / "foreign.db").read_bytes()
    assert run(["store", command, "--store", "sqlite:///foreign.db"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "foreign.db").read_bytes() == before


@pytest.mark.parametrize("command", [["vacuum"], ["migrate"], ["backup", "f"], ["restore", "f"]])
def test_other_stores_are_told_apart(folder, capsys, command):
    assert run(["store", *command, "--store", "redis://127.0.0.1:9/0"]) == 2
    assert "works on SQLite stores only" in capsys.readouterr().err
