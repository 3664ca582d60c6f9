"""The environment variables of the embedded model's process: how OpenMP threads wait, and where libgomp is."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from pathlib import Path

GOMP = "libgomp.so.1"


def environment(folder: Path) -> dict[str, str]:
    """Return the environment for the child process; ``folder`` is empty and exists as long as the child.

    ``OMP_WAIT_POLICY``: by default a waiting thread spins, and where CPUs are shared it keeps the thread it waits for
    from running. Beside one busy process on two cores, 12 short answers took 19 to 57 s with spinning and 8 s with
    sleeping; on idle cores both took 4 to 5 s.

    ``LD_LIBRARY_PATH``: xllamacpp's wheels for Linux need the system's libgomp, which slim images lack. Wheels such as
    scikit-learn's contain it under another name; a link with the expected name makes it usable.
    """
    values = {"OMP_WAIT_POLICY": "passive", **os.environ}
    if sys.platform == "linux" and not system_has_gomp() and (bundled := bundled_gomp()):
        (folder / GOMP).symlink_to(bundled)
        known = os.environ.get("LD_LIBRARY_PATH")
        values["LD_LIBRARY_PATH"] = f"{folder}:{known}" if known else str(folder)
    return values


def system_has_gomp() -> bool:
    """Return whether the loader finds libgomp by itself."""
    try:
        ctypes.CDLL(GOMP)
    except OSError:
        return False
    return True


def bundled_gomp() -> Path | None:
    """Return a libgomp inside an installed wheel (auditwheel puts it in ``PACKAGE.libs``), or None."""
    return next(iter(sorted(Path(sysconfig.get_path("platlib")).glob("*.libs/libgomp-*.so.1*"))), None)
