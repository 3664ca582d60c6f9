"""The stylesheet of the report and of the admin page: one file, so that both look alike."""

from pathlib import Path
from typing import Final

STYLESHEET: Final = Path(__file__).parent / "shared.css"
