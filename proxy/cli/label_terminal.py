"""The terminal session of ``idk label``: shows one answer at a time and reads single keys."""

from __future__ import annotations

import os
import sys
import termios
import tty
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from proxy.cli.output import escaped
from proxy.offline.labelling import LabellingSession

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Callable, Iterator, Mapping

    from proxy.offline.labelling import Proposer
    from proxy.storage import AuditItem, Store
    from proxy.storage.types import LabelName

LABELS: Mapping[str, LabelName] = {"c": "correct", "i": "incorrect", "a": "abstained"}
_ENDS = ("q", "\x04", "")
_KEYS = "[c] correct  [i] incorrect  [a] no answer  [s] skip  [u] undo  [q] quit"


class LabelSession:
    """A labelling session; keys are read between runs of the event loop, so that Ctrl-C ends it at once."""

    def __init__(
        self,
        runner: Runner,
        store: Store,
        route: str,
        who: str,
        judge: Proposer | None,
        *,
        show_decision: bool = False,
    ) -> None:
        self._runner = runner
        self._show_decision = show_decision
        self._session = LabellingSession(store, route, who, judge)
        self._console = Console(highlight=False)

    def run(self) -> None:
        """Show answers until none is left or the user quits; raise StoreError."""
        self._console.print(_KEYS, style="dim", markup=False)
        try:
            with key_by_key() as read:
                while (item := self._runner.run(self._session.next())) is not None and self._one(item, read):
                    pass
            if item is None:
                self._console.print("No answer is left to label, except for skipped ones.")
        finally:
            self._console.print(f"{self._session.labelled} labelled.")
        if self._session.judge is not None:
            self._console.print(f"{self._runner.run(self._session.agreement())}.")

    def _one(self, item: AuditItem, read: Callable[[], str]) -> bool:
        """Show an answer and act on the key; return False where the user quits."""
        self._show(item)
        while True:
            key = read().lower()
            if key in _ENDS:
                return False
            if key in LABELS or key == "s":
                label = LABELS.get(key)
                self._runner.run(self._session.give(label))
                self._console.print(f"→ {label or 'skipped'}\n", style="dim")
                return True
            if key == "u":
                if self._runner.run(self._session.undo()):
                    self._console.print("→ back\n", style="dim")
                    return True
                self._console.print("There is no label to undo.")

    def _show(self, item: AuditItem) -> None:
        decision = item.decision
        about = f"Answer of {datetime.fromtimestamp(decision.at, UTC):%Y-%m-%d %H:%M:%SZ}"
        if self._show_decision:  # it biases the labels, which may certify a policy
            confidence = (
                "unmeasured" if decision.confidence is None else f"confidence {decision.confidence:.2f}"
            )
            about += f" · {confidence} · {decision.decision} ({decision.reason})"
        self._console.print(about, style="dim")
        self._console.print(Text(_shown(item.answer.question or "(the question was not stored)")))
        self._console.print(Text(_shown(item.answer.answer), style="bold"))
        proposed = self._runner.run(self._session.proposal(item))
        if proposed is not None:
            self._console.print(f"The judge proposes: {proposed}", style="cyan")


def _shown(text: str) -> str:
    """Escape a question or an answer, whose lines and tabs are kept."""
    return escaped(text, keep="\n\t")


@contextmanager
def key_by_key() -> Iterator[Callable[[], str]]:
    """Switch off line buffering and echo of standard input; yield a function that reads a key, "" at its end."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)  # keys pressed before this point are kept
    try:
        yield lambda: os.read(descriptor, 1).decode("latin-1")
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
