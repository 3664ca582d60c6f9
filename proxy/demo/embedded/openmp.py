"""The environment in which llama.cpp's threads behave, and find the library that they come from."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from pathlib import Path

GOMP = "libgomp.so.1"


def environment(folder: Path) -> dict[str, str]:
    """This process's environment, made fit for the child; ``folder`` is empty and lives as long as the child.

    ``OMP_WAIT_POLICY``: by default a thread that waits for another spins, and keeps the other from running where
    CPUs are shared. Beside one busy process on two cores, 12 short answers took 19 to 57 s spinning, 8 s
    sleeping; on idle cores 4 to 5 s either way.

    ``LD_LIBRARY_PATH``: xllamacpp's wheels for Linux want the system's libgomp, which slim images lack, while
    wheels such as scikit-learn's bring it along under another name: a link of the right name lends theirs.
    """
    values = {"OMP_WAIT_POLICY": "passive", **os.environ}
    if sys.platform == "linux" and not system_has_gomp() and (bundled := bundled_gomp()):
        (folder / GOMP).symlink_to(bundled)
        known = os.environ.get("LD_LIBRARY_PATH")
        values["LD_LIBRARY_PATH"] = f"{folder}:{known}" if known else str(folder)
    return values


def system_has_gomp() -> bool:
    """Whether the loader finds libgomp by itself."""
    try:
        ctypes.CDLL(GOMP)
    except OSError:
        return False
    return True


def bundled_gomp() -> Path | None:
    """A libgomp inside an installed wheel (auditwheel puts it in ``PACKAGE.libs``), or None."""
    return next(iter(sorted(Path(sysconfig.get_path("platlib")).glob("*.libs/libgomp-*.so.1*"))), None)
