"""``idk serve``: the proxy itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from proxy.config import Config


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
    import msgspec

    from proxy import config as configuration

    if (config is None) == (upstream is None) and not (config is None and Path("idk.yaml").exists()):
        raise ConfigError(
            "serve: give --config FILE or --upstream URL; `idk init` writes a file to begin with"
        )
    path = config or Path("idk.yaml")
    loaded = configuration.load(path) if upstream is None else configuration.for_upstream(upstream)
    changes = {"host": host, "port": port, "workers": workers}
    given = {name: value for name, value in changes.items() if value is not None}
    server = msgspec.structs.replace(loaded.server, **given)
    where = str(path) if upstream is None else "--upstream"
    loaded = configuration.checked(msgspec.structs.replace(loaded, server=server), where)
    with configuration.naming(where):
        run(loaded, path.resolve().parent)


def run(loaded: Config, folder: Path) -> None:
    """Serve until told to stop; raises RunError where it cannot listen."""
    from proxy import workers
    from proxy.app import App, build
    from proxy.server import server_of

    settings = loaded.server
    # Built here for several workers too: what is wrong is said once, before any of them starts.
    app = App(build(loaded, folder=folder, environ=os.environ))
    try:
        if settings.workers == 1:
            server_of(app, settings).run()
        else:
            workers.run(loaded, folder)
    except SystemExit as exc:  # uvicorn's word that it could not start; why, it has logged
        raise RunError(
            f"serve: cannot listen on {settings.host}:{settings.port}; give another --port"
        ) from exc
