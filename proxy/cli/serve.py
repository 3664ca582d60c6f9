"""The command ``idk serve``."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="PATH", help="The configuration. [default: idk.yaml]"),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="In place of a configuration: observe every model of this base URL."
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Listen on this address, in place of server.host.")] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Listen on this port, in place of server.port; 0 takes a free one."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Number of processes, in place of server.workers.")
    ] = None,
) -> None:
    """Run the proxy with the routes of a configuration."""
    from proxy.cli.serve_process import Arguments, replace_process

    replace_process(Arguments(config, upstream, host, port, workers))
