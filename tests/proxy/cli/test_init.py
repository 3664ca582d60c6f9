"""`idk init` writes a valid configuration and overwrites a file only on request."""

from __future__ import annotations

from proxy import config
from proxy.cli.main import run


def test_what_is_written_is_sound(tmp_path, capsys):
    path = tmp_path / "idk.yaml"
    assert run(["init", str(path)]) == 0
    assert f"idk check --config {path}" in capsys.readouterr().out
    config.load(path)
    assert run(["check", "--config", str(path)]) == 0


def test_the_default_is_idk_yaml_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    assert (tmp_path / "idk.yaml").exists()


def test_a_file_that_is_there_is_kept_unless_told(tmp_path, capsys):
    path = tmp_path / "idk.yaml"
    path.write_text("mine")
    assert run(["init", str(path)]) == 2
    assert "exists already; give another name, or --force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert run(["init", str(path), "--force"]) == 0
    assert "routes:" in path.read_text()


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    assert run(["init", str(tmp_path / "none" / "idk.yaml")]) == 2
    assert "does not exist; create it first" in capsys.readouterr().err
