"""The terminal of ``idk label``: an answer is shown, a key is read."""

from __future__ import annotations

import os
import sys
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from proxy.offline.labelling import Desk

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Callable, Iterator, Mapping

    from proxy.offline.labelling import Proposer
    from proxy.storage import AuditItem, Store
    from proxy.storage.types import LabelName

LABELS: Mapping[str, LabelName] = {"c": "correct", "i": "incorrect", "a": "abstained"}
_ENDS = ("q", "\x04", "")
_KEYS = "[c] correct  [i] incorrect  [a] no answer  [s] skip  [u] undo  [q] quit"


class Sitting:
    """Keys are read between the runs of the loop, so that Ctrl-C ends it at once."""

    def __init__(self, runner: Runner, store: Store, route: str, who: str, judge: Proposer | None) -> None:
        self._runner = runner
        self._desk = Desk(store, route, who, judge)
        self._console = Console(highlight=False)

    def run(self) -> None:
        """Until nothing waits, or q. Raises StoreError."""
        self._console.print(_KEYS, style="dim", markup=False)
        try:
            with key_by_key() as read:
                while (item := self._runner.run(self._desk.next())) is not None and self._one(item, read):
                    pass
            if item is None:
                self._console.print("Nothing waits for a label any more, but for what was skipped.")
        finally:
            self._console.print(f"{self._desk.labelled} labelled.")
        if self._desk.judge is not None:
            self._console.print(f"{self._runner.run(self._desk.agreement())}.")

    def _one(self, item: AuditItem, read: Callable[[], str]) -> bool:
        """Show it and do what the key says; False to end."""
        self._show(item)
        while True:
            key = read().lower()
            if key in _ENDS:
                return False
            if key in LABELS or key == "s":
                label = LABELS.get(key)
                self._runner.run(self._desk.give(label))
                self._console.print(f"→ {label or 'skipped'}\n", style="dim")
                return True
            if key == "u":
                if self._runner.run(self._desk.undo()):
                    self._console.print("→ back\n", style="dim")
                    return True
                self._console.print("There is nothing to take back.")

    def _show(self, item: AuditItem) -> None:
        decision = item.decision
        confidence = "unmeasured" if decision.confidence is None else f"confidence {decision.confidence:.2f}"
        self._console.print(f"{confidence} · {decision.decision} ({decision.reason})", style="dim")
        self._console.print(Text(shown(item.answer.question or "(the question is not known)")))
        self._console.print(Text(shown(item.answer.answer), style="bold"))
        proposed = self._runner.run(self._desk.proposal(item))
        if proposed is not None:
            self._console.print(f"The judge proposes: {proposed}", style="cyan")


def shown(text: str) -> str:
    """Without what would steer the terminal: a model's answer may hold anything."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text)


@contextmanager
def key_by_key() -> Iterator[Callable[[], str]]:
    """Standard input without Enter and echo; gives what reads a key (empty at its end)."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)  # keys that were pressed early stay
    try:
        yield lambda: os.read(descriptor, 1).decode("latin-1")
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
