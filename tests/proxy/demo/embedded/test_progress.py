"""A bar on a terminal; one line in ten seconds elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from proxy.demo.embedded.progress import Bytes, say

if TYPE_CHECKING:
    import pytest


def test_elsewhere_one_line_in_ten_seconds() -> None:
    now = [0.0]
    lines: list[str] = []
    screen = io.StringIO()
    with Bytes(
        "Tiny", 50_000_000, tell=lines.append, console=Console(file=screen), clock=lambda: now[0]
    ) as progress:
        for second in range(25):
            now[0] = float(second)
            progress.at(second * 2_000_000)
    assert lines == ["Tiny: 20 of 50 MB", "Tiny: 40 of 50 MB"]
    assert screen.getvalue() == ""


def test_on_a_terminal_a_bar() -> None:
    screen = io.StringIO()
    lines: list[str] = []
    console = Console(file=screen, force_terminal=True, width=100)
    with Bytes("Tiny", 50_000_000, tell=lines.append, console=console) as progress:
        progress.at(50_000_000)
    assert "Tiny" in screen.getvalue()
    assert "50.0/50.0 MB" in screen.getvalue()
    assert lines == []


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("a line")
    assert capsys.readouterr() == ("", "a line\n")
