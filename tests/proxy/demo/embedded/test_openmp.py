"""The child's environment: its threads sleep while they wait, and find libgomp."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from proxy.demo.embedded import openmp

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_threads_sleep_while_they_wait_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openmp, "bundled_gomp", lambda: None)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert openmp.environment(tmp_path)["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert openmp.environment(tmp_path)["OMP_WAIT_POLICY"] == "active"


def test_a_missing_libgomp_is_lent_before_the_users_own_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(openmp, "GOMP", "libgomp-that-is-nowhere.so.1")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/own")
    assert openmp.environment(tmp_path)["LD_LIBRARY_PATH"] == "/own"

    bundled = tmp_path / "other.libs" / "libgomp-0123abcd.so.1.0.0"
    bundled.parent.mkdir()
    bundled.touch()
    assert openmp.environment(tmp_path)["LD_LIBRARY_PATH"] == f"{tmp_path}:/own"
    assert (tmp_path / openmp.GOMP).resolve() == bundled
