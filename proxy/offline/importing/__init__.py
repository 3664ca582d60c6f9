"""Import of graded answers from other tools: one reader a file, and one table of formats."""

from proxy.offline.importing.formats import FORMATS, Format, detect
from proxy.offline.importing.result import Imported, Unused

__all__ = ["FORMATS", "Format", "Imported", "Unused", "detect"]
