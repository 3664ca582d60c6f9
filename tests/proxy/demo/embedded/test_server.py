"""What does not start says why, in one line, and leaves no process behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from proxy.demo.embedded.fetch import Weights
from proxy.demo.embedded.server import EmbeddedServer
from proxy.exceptions import RunError


def test_without_xllamacpp_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with (
        pytest.raises(RunError, match=r"pip install 'idk-proxy\[demo\]'"),
        EmbeddedServer(weights_at(Path("any"))),
    ):
        pass


def test_weights_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = EmbeddedServer(weights_at(tmp_path / "absent.gguf"), log=log)
    with pytest.raises(RunError, match=r"exit status 1: .*absent\.gguf") as failure:
        server.start()
    assert "\n" not in str(failure.value)
    assert "absent.gguf" in log.read_text()
    assert server.pid is None


def test_a_child_that_neither_starts_nor_obeys_is_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "never.gguf"
    os.mkfifo(pipe)  # opening it waits for a writer that never comes
    with pytest.raises(RunError, match="not ready in time"):
        EmbeddedServer(weights_at(pipe), start_s=1.0, stop_s=0.1).start()


def test_there_is_no_address_before_the_start() -> None:
    server = EmbeddedServer(weights_at(Path("any")))
    server.stop()
    with pytest.raises(RunError, match="not running"):
        _ = server.base_url


def weights_at(path: Path) -> Weights:
    return Weights(path, "tiny", None)
