"""The fenced blocks of a page, and those that say why they are not executed."""

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
_REASON: Final = re.compile(r"<!-- not run here: (.+) -->")
#: What shows something and runs nothing.
SHOWN: Final = ("", "text", "mermaid")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``reason`` says why it is not executed."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page that are to be executed, or say why not, in order."""
    found: list[Block] = []
    lines = (ROOT / page).read_text().splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        before = _REASON.fullmatch(lines[opened - 1]) if opened else None
        language = lines[opened][3:].strip()
        text = "\n".join(lines[opened + 1 : number]) + "\n"
        if language not in SHOWN:
            found.append(Block(page, opened + 2, language, text, before[1] if before else None))
        opened = None
    assert opened is None, f"{page}:{opened}: the block is never closed"
    return found
