"""``idk serve``: the proxy itself."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="PATH", help="The configuration.")
    ] = None,
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
    from proxy.cli.serving import Arguments, become

    become(Arguments(config, upstream, host, port, workers))
