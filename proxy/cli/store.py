"""The commands ``idk store``: information, backup, restore, copies, migration and space of a store."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import print_json, print_line
from proxy.cli.store_options import AsJson, ConfigFile, StoreUrl, store_for, url_of, with_store
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from proxy.storage.maintenance import Copied

app = typer.Typer(
    help="Show, back up, restore, copy, migrate and compact a store.",
    no_args_is_help=True,
)

_IDK_YAML = Path("idk.yaml")


@app.command()
def info(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """Show what a store holds: policies, keys, and for SQLite the sizes, entries and schema of its file."""
    from proxy.storage import maintenance

    path = _file(store, config)
    found = with_store(store, config, lambda opened: maintenance.info(opened, path), "read")
    if as_json:
        print_json(asdict(found))
        return
    print_line(
        f"{found.name}: {found.policies:,} policy versions, {found.keys:,} keys, revision {found.revision}"
    )
    if found.file is not None:
        file = found.file
        print_line(
            f"  {file.decisions:,} decisions, {file.labels:,} labels, {file.audit_items:,} answers of the audit sample"
        )
        print_line(
            f"  {file.bytes:,} bytes, {file.free_bytes:,} of them free; write-ahead log {file.log_bytes:,} bytes"
        )
        state = "current" if file.schema == file.current_schema else "run `idk store migrate`"
        print_line(f"  schema {file.schema} of {file.current_schema} ({state})")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The new file.")],
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    as_json: AsJson = False,
) -> None:
    """Write a complete copy of a SQLite store to a new file, while proxies use the store."""
    from proxy.storage import maintenance

    path = _required_file(store, config, "backup")
    maintenance.back_up(path, file)
    if as_json:
        print_json({"store": str(path), "backup": str(file), "bytes": file.stat().st_size})
    else:
        print_line(
            f"{file}: a copy of {path}, {file.stat().st_size:,} bytes; restore it with `idk store restore {file}`"
        )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of a SQLite store, which must not exist. Stop the proxies first."""
    from proxy.storage import maintenance

    path = _required_file(store, config, "restore")
    maintenance.restore(file, path)
    if as_json:
        print_json({"store": str(path), "backup": str(file)})
    else:
        print_line(f"{path}: restored from {file}")


@app.command()
def migrate(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """Update the schema of a SQLite store to this version, after a backup beside the file; `idk serve` does it too."""
    from proxy.storage import maintenance

    path = _required_file(store, config, "migrate")
    before, after, saved = maintenance.migrate(path)
    if as_json:
        print_json(
            {
                "store": str(path),
                "before": before,
                "after": after,
                "backup": None if saved is None else str(saved),
            }
        )
    elif saved is None:
        print_line(f"{path}: has the current schema {after}")
    else:
        print_line(f"{path}: schema {before} updated to {after}; the file before is {saved}")


@app.command()
def vacuum(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """Rewrite the file of a SQLite store without free space."""
    from proxy.storage import maintenance

    path = _required_file(store, config, "vacuum")
    before, after = maintenance.vacuum(path)
    if as_json:
        print_json({"store": str(path), "bytes_before": before, "bytes_after": after})
    else:
        print_line(f"{path}: {before:,} bytes before, {after:,} bytes after")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The URL of the store to copy.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The URL of an empty store.")],
    as_json: AsJson = False,
) -> None:
    """Copy a store to another one, for example from SQLite to Redis. Rate limits are not copied."""
    from proxy.storage import maintenance

    first, second = store_for(source, _IDK_YAML, "read"), store_for(target, _IDK_YAML, "write")

    async def run() -> Copied:
        try:
            await first.open()
            await second.open()
            return await maintenance.copy(first, second)
        finally:
            await first.aclose()
            await second.aclose()

    copied = asdict(asyncio.run(run()))
    if as_json:
        print_json({"from": first.name, "to": second.name, **copied})
    else:
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in copied.items())
        print_line(f"{first.name} -> {second.name}: {counts}")


def _file(store: str | None, config: Path) -> Path | None:
    """Return the file of a SQLite store; None for any other store."""
    from proxy.storage import maintenance

    url, folder = url_of(store, config, os.environ)
    return maintenance.sqlite_file(url, folder)


def _required_file(store: str | None, config: Path, command: str) -> Path:
    path = _file(store, config)
    if path is None:
        raise ConfigError(
            f"store {command}: works on SQLite stores only; Redis has its own backups (BGSAVE), and `idk store copy` "
            "moves a store"
        )
    return path
