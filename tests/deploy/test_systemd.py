"""Tests of the systemd unit, with systemd's own checkers."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

import pytest

from proxy.config.sections import Server
from tests.deploy.conftest import ROOT, clean, tool

UNIT = ROOT / "deploy" / "systemd" / "idk.service"
#: systemd's exposure of an ordinary service is 9.6, and below 2 it says "OK".
MOST_EXPOSURE = 2.0


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with this environment's command, since systemd checks that it exists."""
    path = tmp_path / "idk.service"
    command = Path(sys.executable).with_name("idk")
    path.write_text(UNIT.read_text().replace("/opt/idk/bin/idk", str(command)))
    return path


def test_the_unit_is_valid(unit: Path) -> None:
    result = tool("systemd-analyze", "verify", "--man=no", unit)
    assert "idk.service" not in result.stdout + result.stderr, result.stdout + result.stderr


def test_the_service_is_isolated(unit: Path) -> None:
    report = clean(tool("systemd-analyze", "security", "--no-pager", "--offline=yes", unit))
    exposure = re.search(r"Overall exposure level for idk\.service: ([\d.]+)", report)
    assert exposure is not None, report
    assert float(exposure[1]) < MOST_EXPOSURE, report


def test_it_outlives_the_drain() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    service = parser["Service"]
    assert float(service["TimeoutStopSec"]) > Server().drain_s + Server().drain_lead_s
    assert service["ExecStart"].endswith("serve --config /etc/idk/idk.yaml")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
