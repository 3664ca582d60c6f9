"""What a command may do to a store."""

from __future__ import annotations

from typing import Literal

#: ``read`` never changes a store and creates none; ``write`` creates a missing store and writes to one of the current
#: schema; ``serve`` also migrates an older schema, after a backup beside the file.
Access = Literal["read", "write", "serve"]
