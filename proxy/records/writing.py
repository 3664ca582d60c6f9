"""Writing of JSON Lines and other output files, so that a crash neither loses a line nor leaves half a file."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO
    from pathlib import Path

    from msgspec import Struct


def write(path: Path, text: str) -> None:
    """Replace the file by ``text``, or leave it unchanged where that fails; raises ConfigError."""
    write_lines(path, text.encode().splitlines())


def write_lines(path: Path, content: Iterable[bytes]) -> None:
    """Write the lines to a temporary file and move it to ``path`` when it is complete; raises ConfigError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.writelines(line + b"\n" for line in content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc
    finally:
        beside.unlink(missing_ok=True)


def encoded(record: Struct) -> bytes:
    """Return the record as one line of JSON, without the line break."""
    return msgspec.json.encode(record)


class Appender:
    """A file that lines are appended to, unbuffered: a killed process leaves at most one half line, at its end."""

    def __init__(self, path: Path) -> None:
        """Open and lock ``path``, and remove the half line that a killed run left; raises ConfigError."""
        self._path = path
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._file.close()
            raise ConfigError(f"{path}: another command is writing it; wait until it has ended") from exc
        _cut_half_line(self._file)

    def append(self, record: Struct) -> None:
        """Write one record; raises RunError."""
        rest = encoded(record) + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            raise RunError(f"{self._path}: cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Close the file, which releases its lock."""
        self._file.close()


def _cut_half_line(file: FileIO) -> None:
    end = place = file.seek(0, os.SEEK_END)
    while place > 0:
        start = max(0, place - 65_536)
        file.seek(start)
        found = file.read(place - start).rfind(b"\n")
        if found >= 0:
            place = start + found + 1
            break
        place = start
    if place != end:
        file.truncate(place)
