"""Inputs that once broke something, or show a property's edge: kept in the repository, a file for each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"


def kept(target: str) -> list[Path]:
    """Return the files of one target."""
    return sorted((CORPUS / target).glob("*"))


def keep(target: str, content: bytes, folder: Path = CORPUS) -> Path:
    """Write one, named by its digest; gives its file."""
    path = folder / target / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
