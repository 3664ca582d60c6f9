"""Progress: a bar on a terminal, a line in ten seconds elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from proxy.offline.progress import Steps


def test_elsewhere_it_is_one_line_in_ten_seconds():
    out = io.StringIO()
    times = iter([0.0, 1.0, 9.9, 10.0, 11.0, 20.0])
    with Steps("support", 1_000, done=994, console=Console(file=out), clock=lambda: next(times)) as steps:
        for _ in range(5):
            steps.step("80% correct")
    assert out.getvalue().splitlines() == [
        "support: 997 of 1,000 80% correct",
        "support: 999 of 1,000 80% correct",
    ]


def test_on_a_terminal_it_is_a_bar():
    out = io.StringIO()
    with Steps("support", 3, console=Console(file=out, force_terminal=True, width=100)) as steps:
        for _ in range(3):
            steps.step("all correct")
    assert "3/3" in out.getvalue()
    assert "all correct" in out.getvalue()
    assert " of " not in out.getvalue()
