"""What the commands that use a store have in common: the choice of the store, and the name of the user who acts."""

from __future__ import annotations

import asyncio
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from proxy.exceptions import ConfigError, escaped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.storage import Store
    from proxy.storage.access import Access

#: Maximum length of a name in the history.
MAX_WHO_LENGTH = 64
Found = TypeVar("Found")

StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="The store's URL. [default: server.store of --config]"),
]
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="IDK_CONFIG", help="The configuration that names the store.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Who = Annotated[
    str | None, typer.Option(help="Name for the history. [default: the name of the system's user]")
]


def store_for(url: str | None, config: Path, access: Access) -> Store:
    """Return the store, not opened yet; raise ConfigError where none is named.

    With the access ``read``, opening neither creates nor changes a store.
    """
    from proxy import config as configuration
    from proxy.control.policies import store_of
    from proxy.storage import make_store, sealer_of

    if url is not None:
        return make_store(
            url, Path.cwd(), sealer_of(configuration.Server().audit_key_env, os.environ), access
        )
    if config.exists():
        return store_of(configuration.load(config), configuration.folder_of(config), os.environ, access)
    raise ConfigError(f"{config}: no such file; give --store URL, for example --store sqlite:///idk.db")


def url_of(url: str | None, config: Path, environ: Mapping[str, str]) -> tuple[str, Path]:
    """Return the store's URL, and the folder to which its path refers; raise ConfigError where none is named."""
    from proxy import config as configuration

    if url is not None:
        return url, Path.cwd()
    if config.exists():
        server = configuration.load(config).server
        return configuration.store_url(server, environ), configuration.folder_of(config)
    raise ConfigError(f"{config}: no such file; give --store URL, for example --store sqlite:///idk.db")


def with_store(
    url: str | None,
    config: Path,
    call: Callable[[Store], Awaitable[Found]],
    access: Access = "write",
) -> Found:
    """Open the store, run ``call`` on it and return the result; raise ConfigError or StoreError."""
    store = store_for(url, config, access)

    async def run() -> Found:
        try:
            await store.open()
            return await call(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def user_name(given: str | None) -> str:
    """Return the name for the history: the one given, or that of the system's user; raise ConfigError."""
    if given is not None:
        if not given.isprintable() or not 0 < len(given.strip()) <= MAX_WHO_LENGTH:
            raise ConfigError(f"--who: use 1 to {MAX_WHO_LENGTH} printable characters")
        return given
    try:
        return escaped(getpass.getuser())
    except (KeyError, OSError):  # the user of a container may have no name
        return f"uid {os.getuid()}"
