"""``idk serve``: the proxy itself."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config import Config
    from proxy.keeper import Source


def serve(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The configuration.")] = None,
    upstream: Annotated[
        str | None, typer.Option(help="Without a file: observe every model of this base URL.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Over server.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Over server.port; 0 takes a free one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Over server.workers.")] = None,
) -> None:
    """Serve the routes of a configuration."""
    from proxy import config as configuration
    from proxy.keeper import Source

    if (config is None) == (upstream is None) and not (config is None and Path("idk.yaml").exists()):
        raise ConfigError(
            "serve: give --config FILE or --upstream URL; `idk init` writes a file to begin with"
        )
    path = config or Path("idk.yaml")
    changes = {"host": host, "port": port, "workers": workers}
    given = {name: value for name, value in changes.items() if value is not None}
    if upstream is None:
        source, where = Source(path, given), str(path)
        loaded = source.load()
        source = replace(source, seen=source.stamp(loaded))
    else:
        source, where = None, "--upstream"
        loaded = configuration.with_server(configuration.for_upstream(upstream), given, where)
    with configuration.naming(where):
        run(loaded, path.resolve().parent, source)


def run(loaded: Config, folder: Path, source: Source | None = None) -> None:
    """Serve until told to stop; raises RunError where it cannot listen."""
    with _shared_store(loaded, source) as (config, followed):
        _serve(config, folder, followed)


def _serve(config: Config, folder: Path, source: Source | None) -> None:
    from proxy import workers
    from proxy.app import Setting, application
    from proxy.policies import known_of
    from proxy.server import server_of, settle_memory

    setting = Setting(config, folder, known_of(config, folder, os.environ), source)
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
