"""The process of `idk serve`, without the libraries of the command line.

A server may run for months, and a host may run many of them. Typer and its dependencies would take a fifth of the
memory without being used: the command checks its arguments and then replaces its process by this module (the same
process id). Workers import their parent's main module again and are just as small.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from proxy.cli.output import exit_status
from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.app import Container
    from proxy.config import Config
    from proxy.control.reload import Source


class Arguments(msgspec.Struct, frozen=True, omit_defaults=True):
    """The arguments of `idk serve`; each that is named like a key of ``server`` takes precedence over the file."""

    config: str | None = None
    upstream: str | None = None
    host: str | None = None
    port: int | None = None
    workers: int | None = None


def replace_process(arguments: Arguments) -> None:
    """Replace this process by a server; serve inside it where Python's executable cannot be started again.

    The executable may have been removed, or this user may not be allowed to run it.
    """
    given = msgspec.json.encode(arguments).decode()
    with suppress(OSError):
        # -P: modules are not imported from the working directory.
        os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, given])  # noqa: S606 - no shell, this module
    serve(arguments)


def main(given: str) -> int:
    """Serve with the encoded arguments of ``replace_process``; return the exit status."""
    return exit_status(lambda: serve(msgspec.json.decode(given, type=Arguments)))


def serve(arguments: Arguments) -> None:
    """Serve the routes of a configuration until a signal ends it; raise ConfigError or RunError."""
    from proxy import config as configuration
    from proxy.control.reload import Source

    named = arguments.config or (None if arguments.upstream else os.environ.get("IDK_CONFIG"))
    path = Path(named or "idk.yaml")
    has_file = named is not None or (arguments.upstream is None and path.exists())
    if has_file == (arguments.upstream is not None):
        raise ConfigError(
            "serve: give either --config FILE or --upstream URL; `idk init` writes a configuration to start from"
        )
    options = ((name, getattr(arguments, name)) for name in ("host", "port", "workers"))
    given = {name: value for name, value in options if value is not None}
    if arguments.upstream is None:
        source, where = Source(path, given), str(path)
        loaded = source.load()
        source = replace(source, seen=source.stamp(loaded))
    else:
        source, where = None, "--upstream"
        loaded = configuration.with_server(configuration.for_upstream(arguments.upstream), given, where)
    with configuration.error_prefix(where):
        run(loaded, configuration.folder_of(path), source)


def run(loaded: Config, folder: Path, source: Source | None = None) -> None:
    """Serve until a signal ends it; raise RunError where the address cannot be listened on."""
    with _shared_store(loaded, source) as (config, followed):
        _serve(config, folder, followed)


def _serve(config: Config, folder: Path, source: Source | None) -> None:
    from proxy.app import AppSettings, application, application_of_worker
    from proxy.control.policies import read_snapshot
    from proxy.server import workers
    from proxy.server.protocol import check_port, server_of, settle_memory

    settings = AppSettings(config, folder, read_snapshot(config, folder, os.environ), source)
    # Built here for several workers too, so that an error is reported once, before any worker starts.
    app = application(settings, os.environ)
    announce = partial(_announce, app.container, folder)
    try:
        check_port(config.server)
        if config.server.workers == 1:
            settle_memory()
            server_of(app, config.server, announce).run()
        else:
            workers.run(config.server, partial(application_of_worker, settings), announce)
    except (OSError, SystemExit) as exc:  # uvicorn exits where it cannot start, and has logged why
        reason = f" ({exc.strerror})" if isinstance(exc, OSError) and exc.strerror else ""
        raise RunError(
            f"serve: cannot listen on {config.server.host}:{config.server.port}{reason}; give another --port"
        ) from exc


def _announce(container: Container, folder: Path, url: str) -> None:
    """Log the routes, the settings that are probably a mistake, and the addresses of the API, the page and metrics."""
    from proxy.app import concerns, notes
    from proxy.cli.route_summary import route_line

    logger = logging.getLogger("idk")
    for route in container.routes.routes:
        logger.info("route %s", route_line(route))
    for concern in concerns(container.config, folder, os.environ):
        logger.warning("%s", concern)
    page = f"{url}/admin"
    if any(notes(container.config, folder, os.environ)):
        page = f"off, since {container.config.server.admin_key_env} is not set"
    logger.info("API: %s/v1   page: %s   metrics: %s/metrics", url, page, url)


@contextmanager
def _shared_store(config: Config, source: Source | None) -> Iterator[tuple[Config, Source | None]]:
    """Replace a store in memory by a temporary file where several workers, which share no memory, need one store."""
    from proxy.config import store_url, with_server
    from proxy.storage import MEMORY_URL

    if config.server.workers == 1 or store_url(config.server, os.environ) != MEMORY_URL:
        yield config, source
        return
    with TemporaryDirectory(prefix="idk-store-") as directory:
        given = {"store": f"sqlite:///{directory}/idk.db", "store_env": None}
        followed = None if source is None else replace(source, given={**source.given, **given})
        yield with_server(config, given, "--workers"), followed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
