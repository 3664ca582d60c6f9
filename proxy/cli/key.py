"""``idk key``: clients' keys in a store, made and revoked while proxies run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.stores import AsJson, ConfigFile, StoreUrl, Who, printed, who_is, with_store
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from proxy.clients.keys import Listed

app = typer.Typer(help="Clients' keys in a store: create, list, revoke.", no_args_is_help=True)

_IDK_YAML = Path("idk.yaml")
Name = Annotated[str, typer.Argument(help="Whose key it is; as usage and limits show it.")]


@app.command()
def create(
    name: Name,
    route: Annotated[
        list[str] | None, typer.Option(help="A route that it opens; all, if none is given.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Its limit.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Its limit.")] = None,
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, in force on every replica within a second. It is shown this once."""
    from proxy.clients import keys

    taken = _in_file(config)
    made = with_store(
        store,
        config,
        lambda s: keys.create(
            s,
            name,
            who_is(who),
            time(),
            taken=taken,
            routes=tuple(route) if route else None,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        ),
    )
    if as_json:
        printed({**described(keys.Listed(made.key)), "key": made.secret})
    else:
        print(made.secret)


def _in_file(config: Path) -> list[str]:
    """The names of the configuration's keys; none where it cannot be read: ``--store`` needs no configuration."""
    from proxy import config as configuration

    try:
        return [key.name for key in configuration.load(config).keys]
    except ConfigError:
        return []


@app.command("list")
def list_keys(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """All keys that were ever made here, and when each was last used; never the keys themselves."""
    from proxy.clients import keys

    found = with_store(store, config, keys.listed)
    if as_json:
        printed([described(each) for each in found])
        return
    if not found:
        print("there are no keys in the store; `idk key create NAME` makes one")
    for key, used_at in found:
        state = "opens" if key.revoked_at is None else "revoked"
        routes = ", ".join(key.routes) if key.routes else "every route"
        print(f"{key.name:24} {state:8} {_used(used_at):26} {routes}")


@app.command()
def revoke(
    name: Name, store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False
) -> None:
    """Let a key open nothing any more, on every replica within a second."""
    from proxy.clients import keys

    with_store(store, config, lambda s: keys.revoke(s, name, time()))
    if as_json:
        printed({"name": name, "revoked": True})
    else:
        print(f"{name} opens nothing any more")


def _used(at: float | None) -> str:
    if at is None:
        return "never used"
    return f"used {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def described(listed: Listed) -> dict[str, Any]:
    """What may be told of a key; what never happened is null."""

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
