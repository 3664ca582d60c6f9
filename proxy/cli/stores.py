"""What commands on a store share: which one it is, who acts, and how a result is printed."""

from __future__ import annotations

import asyncio
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.storage import Store

Found = TypeVar("Found")

StoreUrl = Annotated[
    str | None, typer.Option("--store", help="The store's URL; that of --config where it is not given.")
]
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="Where server.store is read, without --store.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Who = Annotated[str | None, typer.Option(help="Who does it, for the history; the user's name by default.")]


def store_for(url: str | None, config: Path) -> Store:
    """The store, not opened yet; raises ConfigError."""
    from proxy import config as configuration
    from proxy.control.policies import store_of
    from proxy.storage import make_store, sealer_of

    if url is not None:
        return make_store(url, Path.cwd(), sealer_of(configuration.Server().audit_key_env, os.environ))
    if config.exists():
        return store_of(configuration.load(config), config.resolve().parent, os.environ)
    raise ConfigError(f"{config}: no such file; give --store URL, as sqlite:///idk.db")


def with_store(url: str | None, config: Path, call: Callable[[Store], Awaitable[Found]]) -> Found:
    """Run ``call`` on the store; raises ConfigError or StoreError."""
    store = store_for(url, config)

    async def run() -> Found:
        try:
            await store.open()
            return await call(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def who_is(given: str | None) -> str:
    """Who acts: as given, or the user of the system."""
    if given is not None:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def printed(value: object) -> None:
    """As JSON on standard output."""
    import msgspec

    print(msgspec.json.encode(value).decode())
