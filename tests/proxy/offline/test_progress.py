"""Progress: a bar on a terminal, one line in ten seconds elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from proxy.offline.progress import Bytes, Steps, print_line

if TYPE_CHECKING:
    import pytest


def test_without_a_terminal_steps_print_one_line_in_ten_seconds() -> None:
    lines: list[str] = []
    screen = io.StringIO()
    times = iter([0.0, 1.0, 9.9, 10.0, 11.0, 20.0])
    with Steps(
        "support", 1_000, done=994, tell=lines.append, console=Console(file=screen), clock=lambda: next(times)
    ) as steps:
        for _ in range(5):
            steps.step("80% correct")
    assert lines == ["support: 997 of 1,000 80% correct", "support: 999 of 1,000 80% correct"]
    assert screen.getvalue() == ""


def test_without_a_terminal_bytes_print_one_line_in_ten_seconds() -> None:
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


def test_on_a_terminal_steps_are_a_bar() -> None:
    screen = io.StringIO()
    with Steps("support", 3, console=Console(file=screen, force_terminal=True, width=100)) as steps:
        for _ in range(3):
            steps.step("all correct")
    assert "3/3" in screen.getvalue()
    assert "all correct" in screen.getvalue()
    assert " of " not in screen.getvalue()


def test_on_a_terminal_bytes_are_a_bar() -> None:
    screen = io.StringIO()
    lines: list[str] = []
    console = Console(file=screen, force_terminal=True, width=100)
    with Bytes("Tiny", 50_000_000, tell=lines.append, console=console) as progress:
        progress.at(50_000_000)
    assert "Tiny" in screen.getvalue()
    assert "50.0/50.0 MB" in screen.getvalue()
    assert lines == []


def test_lines_are_printed_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a line")
    assert capsys.readouterr() == ("", "a line\n")
