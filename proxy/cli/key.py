"""The commands ``idk key``: create, list and revoke the client keys of a store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.output import print_error, print_json, print_line
from proxy.cli.store_options import AsJson, ConfigFile, StoreUrl, Who, user_name, with_store
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from proxy.clients.keys import Listed

app = typer.Typer(help="Create, list and revoke the client keys of a store.", no_args_is_help=True)

_IDK_YAML = Path("idk.yaml")
Name = Annotated[str, typer.Argument(help="Name of the client; usage and limits are shown under it.")]


@app.command()
def create(
    name: Name,
    route: Annotated[
        list[str] | None,
        typer.Option(help="A route that the key may use; may be repeated. [default: all routes]"),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of requests a minute.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tokens a minute.")
    ] = None,
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it: it is shown only once. Every replica accepts it within a second."""
    from proxy.clients import keys

    taken = _configured_names(config)
    made = with_store(
        store,
        config,
        lambda s: keys.create(
            s,
            name,
            user_name(who),
            time(),
            taken=taken,
            routes=tuple(route) if route else None,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        ),
    )
    if _ignores_stored_keys(config):
        print_error(
            f"{config}: server.stored_keys is false, so the proxy ignores this key; set it to true to use the key"
        )
    if as_json:
        print_json({**values_of(keys.Listed(made.key)), "key": made.secret})
    else:
        print_line(made.secret)


def _configured_names(config: Path) -> list[str]:
    """Return the names of the configuration's keys; none where it cannot be read, since ``--store`` needs no file."""
    from proxy import config as configuration

    try:
        return [key.name for key in configuration.load(config).keys]
    except ConfigError:
        return []


def _ignores_stored_keys(config: Path) -> bool:
    """Return whether the configuration can be read and does not use the store's keys."""
    from proxy import config as configuration

    try:
        return not configuration.load(config).server.stored_keys
    except ConfigError:
        return False


@app.command("list")
def list_keys(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """List every key that was ever created, with the time of its last use; the secrets are never shown."""
    from proxy.clients import keys

    found = with_store(store, config, keys.listed, "read")
    if as_json:
        print_json([values_of(each) for each in found])
        return
    if not found:
        print_line("the store has no keys; create one with `idk key create NAME`")
    for key, used_at in found:
        state = "active" if key.revoked_at is None else "revoked"
        routes = ", ".join(key.routes) if key.routes else "every route"
        print_line(f"{key.name:24} {state:8} {_used(used_at):26} {routes}")


@app.command()
def revoke(
    name: Name, store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False
) -> None:
    """Revoke a key: every replica rejects it within a second."""
    from proxy.clients import keys

    with_store(store, config, lambda s: keys.revoke(s, name, time()))
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        print_line(f"{name} is revoked")


def _used(at: float | None) -> str:
    if at is None:
        return "never used"
    return f"used {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def values_of(listed: Listed) -> dict[str, Any]:
    """Return the public fields of a key as JSON values; the time of an event that never happened is null."""

    def when(at: float | None) -> str | None:
        return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")

    key = listed.key
    return {
        "name": key.name,
        "routes": key.routes,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "who": key.who,
        "at": when(key.at),
        "last_used_at": when(listed.used_at),
        "revoked_at": when(key.revoked_at),
    }
