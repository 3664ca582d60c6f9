"""Writing of output files: every command writes through these functions, which never destroy what they do not replace.

A regular file is replaced as a whole, and only once the new content is complete. Devices and FIFOs are written
through. New files that hold texts are readable by their owner alone; an existing file keeps its mode.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from contextlib import suppress
from io import BufferedWriter, FileIO
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from proxy.exceptions import UNREADABLE, ConfigError, RunError
from proxy.records.reading import answered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from msgspec import Struct

#: The mode of new files that may hold texts, before the umask; of other new files.
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o666
#: How every record that this program writes begins: ``answer`` is the first field.
_RECORD_START: Final = b'{"answer":'


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuse outputs that name no writable place, or that are also an input or another output.

    Both arguments map the option, as the user writes it, to its path (None: not given). Raises ConfigError, before
    any work is done.
    """
    seen = [(option, path) for option, path in inputs.items() if path is not None]
    for option, path in outputs.items():
        if path is None:
            continue
        if path.is_dir():
            raise ConfigError(f"{option}: {str(path)!r} is a folder; give the name of a file")
        if not path.parent.is_dir():
            raise ConfigError(
                f"{option}: {path}: the folder {str(path.parent)!r} does not exist; create it first"
            )
        for other, given in seen:
            if _same_file(path, given):
                raise ConfigError(
                    f"{option}: {path} is also given as {other} and would be overwritten; give another file"
                )
        seen.append((option, path))


def _same_file(one: Path, other: Path) -> bool:
    """Return whether both paths name the same regular file; devices and FIFOs lose nothing by being named twice."""
    try:
        found = one.stat()
        return stat.S_ISREG(found.st_mode) and os.path.samestat(found, other.stat())
    except OSError:
        return one.resolve() == other.resolve()


def write(path: Path, text: str, *, private: bool = True) -> None:
    """Replace the file by ``text``, or leave it unchanged where that fails; raises ConfigError."""
    write_lines(path, text.encode().splitlines(), private=private)


def write_lines(path: Path, content: Iterable[bytes], *, private: bool = True) -> None:
    """Replace the file by these lines, or leave it unchanged where that fails; raises ConfigError.

    A new file that is ``private`` is readable by its owner alone.
    """
    try:
        before = _status(path)
        if not _is_written_through(path, before):
            # A symbolic link stays, and its target is replaced.
            _replace(path.resolve(), before, content, _PRIVATE if private else _PUBLIC)
            return
        with _open(path, os.O_WRONLY | os.O_APPEND, _PRIVATE, "wb") as file:
            for line in content:
                _write_all(file, line + b"\n")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc


def _replace(target: Path, before: os.stat_result | None, content: Iterable[bytes], mode: int) -> None:
    beside = target.with_name(f".idk-{secrets.token_hex(8)}")
    try:
        with BufferedWriter(_open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, "wb")) as file:
            if before is not None:
                with suppress(PermissionError):  # only root may give a file away
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            file.writelines(line + b"\n" for line in content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _is_written_through(path: Path, found: os.stat_result | None) -> bool:
    """Return whether the path is a device, a FIFO, or an open descriptor such as /dev/stdout."""
    descriptor = str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return descriptor or (found is not None and not stat.S_ISREG(found.st_mode))


def _open(path: Path, flags: int, permissions: int, mode: str) -> FileIO:
    """Open a file unbuffered; ``permissions`` are those of a new file."""
    return FileIO(os.open(path, flags | os.O_CLOEXEC, permissions), mode)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def encoded(record: Struct) -> bytes:
    """Return the record as one line of JSON, without the line break."""
    return msgspec.json.encode(record)


class Appender:
    """A file that records are appended to, unbuffered: a killed process leaves at most one half line, at its end.

    ``done`` holds the ids of the records that the file contains already.
    """

    def __init__(self, path: Path, made_with: dict[str, Any]) -> None:
        """Open and lock ``path`` to continue it with answers of ``made_with``; raises ConfigError.

        The file is checked before it is changed. Then the half line that a killed run left is removed, and a last
        record without a line break gets one. A device or FIFO is only written to.
        """
        self._path = path
        self.done: set[str] = set()
        self._file = self._open()
        if not self._file.readable():
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.done = answered(path, made_with)
            _finish_last_line(self._file, path)
        except BlockingIOError as exc:
            self._file.close()
            raise ConfigError(f"{path}: another command is writing it; wait until it has ended") from exc
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> FileIO:
        try:
            if _is_written_through(self._path, _status(self._path)):
                return _open(self._path, os.O_WRONLY | os.O_APPEND, _PRIVATE, "wb")
            return _open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _PRIVATE, "r+b")
        except OSError as exc:
            raise ConfigError(f"{self._path}: cannot be written: {exc.strerror}") from exc

    def append(self, record: Struct) -> None:
        """Write one record; raises RunError."""
        try:
            _write_all(self._file, encoded(record) + b"\n")
        except OSError as exc:
            raise RunError(f"{self._path}: cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Close the file, which releases its lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write_all(file: FileIO, rest: bytes) -> None:
    while rest:
        rest = rest[file.write(rest) :]


def _finish_last_line(file: FileIO, path: Path) -> None:
    """Complete a last record without a line break, or remove half a record; raises ConfigError on anything else."""
    end = file.seek(0, os.SEEK_END)
    start = _last_line_start(file, end)
    file.seek(start)
    last = file.read(end - start)
    if not last.strip():
        return
    try:
        msgspec.json.decode(last, type=dict[str, Any])
    except UNREADABLE:
        if not last.startswith(_RECORD_START[: len(last)]):
            raise ConfigError(
                f"{path}: ends with something that `idk evaluate` did not write; give another --out"
            ) from None
        file.truncate(start)
    else:
        _write_all(file, b"\n")


def _last_line_start(file: FileIO, end: int) -> int:
    place = end
    while place > 0:
        start = max(0, place - 65_536)
        file.seek(start)
        found = file.read(place - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        place = start
    return 0
