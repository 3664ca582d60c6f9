"""What `idk serve` becomes: a process that serves, without the libraries of the command line.

It may stand for months, and a host may have many. Typer, and what it brings, would take a fifth of its memory and do
nothing: the command has its arguments checked and then puts this in its own place (the same process, the same id).
Workers, which import their parent's main module anew, are as lean.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from proxy.cli.edge import status_of
from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config import Config
    from proxy.control.reload import Source


class Arguments(msgspec.Struct, frozen=True, omit_defaults=True):
    """The command line; what stands for a key of ``server`` goes over the file's."""

    config: str | None = None
    upstream: str | None = None
    host: str | None = None
    port: int | None = None
    workers: int | None = None


def become(arguments: Arguments) -> None:
    """Serve in this process's place, of which nothing goes on; in the process itself where Python cannot start again.

    Its file may be gone, or not be this user's to run.
    """
    given = msgspec.json.encode(arguments).decode()
    with suppress(OSError):
        # -P: a file of the working directory is no module of ours.
        os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, given])  # noqa: S606 - no shell, our own module
    serve(arguments)


def main(given: str) -> int:
    """Serve by what ``become`` was given; gives the exit status."""
    return status_of(lambda: serve(msgspec.json.decode(given, type=Arguments)))


def serve(arguments: Arguments) -> None:
    """Serve a configuration's routes until told to stop; raises ConfigError, and RunError where it cannot listen."""
    from proxy import config as configuration
    from proxy.control.reload import Source

    path = Path(arguments.config or "idk.yaml")
    there = arguments.config is not None or (arguments.upstream is None and path.exists())
    if there == (arguments.upstream is not None):
        raise ConfigError(
            "serve: give --config FILE or --upstream URL; `idk init` writes a file to begin with"
        )
    over = ((name, getattr(arguments, name)) for name in ("host", "port", "workers"))
    given = {name: value for name, value in over if value is not None}
    if arguments.upstream is None:
        source, where = Source(path, given), str(path)
        loaded = source.load()
        source = replace(source, seen=source.stamp(loaded))
    else:
        source, where = None, "--upstream"
        loaded = configuration.with_server(configuration.for_upstream(arguments.upstream), given, where)
    with configuration.error_prefix(where):
        run(loaded, path.resolve().parent, source)


def run(loaded: Config, folder: Path, source: Source | None = None) -> None:
    """Serve until told to stop; raises RunError where it cannot listen."""
    with _shared_store(loaded, source) as (config, followed):
        _serve(config, folder, followed)


def _serve(config: Config, folder: Path, source: Source | None) -> None:
    from proxy.app import Setting, application
    from proxy.control.policies import read_snapshot
    from proxy.server import workers
    from proxy.server.protocol import server_of, settle_memory

    setting = Setting(config, folder, read_snapshot(config, folder, os.environ), source)
    # Built here for several workers too: what is wrong is said once, before any of them starts.
    app = application(setting, os.environ)
    try:
        if config.server.workers == 1:
            settle_memory()
            server_of(app, config.server).run()
        else:
            workers.run(setting)
    except SystemExit as exc:  # uvicorn's word that it could not start; why, it has logged
        raise RunError(
            f"serve: cannot listen on {config.server.host}:{config.server.port}; give another --port"
        ) from exc


@contextmanager
def _shared_store(config: Config, source: Source | None) -> Iterator[tuple[Config, Source | None]]:
    """Several workers have no memory in common: in place of memory:// they share a file for as long as they run."""
    from proxy.config import with_server
    from proxy.storage import MEMORY_URL

    if config.server.workers == 1 or config.server.store != MEMORY_URL:
        yield config, source
        return
    with TemporaryDirectory(prefix="idk-store-") as directory:
        given = {"store": f"sqlite:///{directory}/idk.db"}
        followed = None if source is None else replace(source, given={**source.given, **given})
        yield with_server(config, given, "--workers"), followed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
