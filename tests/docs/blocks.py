"""The fenced blocks of a page, with the marks that say how a block is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
PAGES: Final = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
#: A comment on the line before a block: why it is not run, or that its last command fails.
_MARK: Final = re.compile(r"<!-- (not run here|needs the network|exits 1): (.+) -->")
#: Languages of blocks that show output or a picture.
SHOWN: Final = ("", "text")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    #: Why the block is not run here; None if it is run.
    reason: str | None
    #: The exit status that its last command must have.
    status: int = 0

    @property
    def place(self) -> str:
        """Return the page and the line of its first command."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page that are run, or that say why they are not, in order."""
    found: list[Block] = []
    lines = (ROOT / page).read_text().splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        mark = _MARK.fullmatch(lines[opened - 1]) if opened else None
        language = lines[opened][3:].strip()
        text = "\n".join(lines[opened + 1 : number]) + "\n"
        if language not in SHOWN:
            fails = mark is not None and mark[1] == "exits 1"
            reason = f"{mark[1]}: {mark[2]}" if mark is not None and not fails else None
            found.append(Block(page, opened + 2, language, text, reason, int(fails)))
        opened = None
    assert opened is None, f"{page}:{opened}: the block is never closed"
    return found
