"""The checks of a configuration that `idk check`, the start and a reload share."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.config import Server, admin_key, store_url, warnings
from proxy.control.policies import store_of
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxy.config import Config

#: The packages of the extra ``otel``.
_OTEL = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def validate(config: Config, folder: Path, environ: Mapping[str, str]) -> None:
    """Raise ConfigError where the store's URL, a secret or a missing package does not allow the configuration to run.

    Nothing is connected to, and nothing is changed. References inside the file are checked when it is read, and
    policies when the routes are built.
    """
    admin_key(config.server, environ, folder)
    store_of(config, folder, environ)
    if config.server.opentelemetry and not all(map(_installed, _OTEL)):
        raise ConfigError(
            "server.opentelemetry: opentelemetry is not installed; pip install 'idk-proxy[otel]'"
        )


def concerns(config: Config, folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the settings that are allowed and probably a mistake, each with a fix."""
    yield from warnings(config)
    if config.server.admin_key_env != Server().admin_key_env:  # a variable that was named on purpose
        yield from notes(config, folder, environ)


def notes(config: Config, folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what an operator may want to know of a configuration without a mistake."""
    if admin_key(config.server, environ, folder) is None:
        yield (
            f"server.admin_key_env: {config.server.admin_key_env} is not set in the environment, so the page at "
            "/admin is off; set it to a secret of at least 16 characters"
        )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # the package around it is missing
        return False


def check_writable(config: Config, folder: Path, environ: Mapping[str, str]) -> None:
    """Raise ConfigError where the file of a SQLite store cannot be written; the store itself is not touched.

    Only `idk check` refuses such a store. A proxy starts without it, as it does while Redis is down: it answers
    requests, reports the failing store, and uses it once it can be written.
    """
    parts = urlsplit(store_url(config.server, environ))
    if parts.scheme != "sqlite":
        return
    path = folder / parts.path.removeprefix("/")
    try:
        if path.exists():
            os.close(os.open(path, os.O_RDWR))
        # SQLite writes its journal beside the store.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as exc:
        raise ConfigError(
            f"server.store: {path}: cannot be written: {exc.strerror}; name a file in a folder that can be written"
        ) from exc
