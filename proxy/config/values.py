"""Values that the configuration names and the environment or a file holds: API keys, the store's URL, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxy.config.sections import Config, Server, Upstream

#: Maximum size of a file with a secret; a larger one was named by mistake.
_MAX_SECRET_BYTES = 65_536


def store_url(server: Server, environ: Mapping[str, str]) -> str:
    """Return the store's URL, from the environment where ``store_env`` is set; raise ConfigError."""
    if server.store_env is None:
        return server.store
    return _variable("server.store_env", server.store_env, environ, "the store's URL")


def base_url(name: str, upstream: Upstream, environ: Mapping[str, str]) -> str | None:
    """Return an upstream's address, from the environment where ``base_url_env`` is set; raise ConfigError."""
    if upstream.base_url_env is None:
        return upstream.base_url
    return _variable(f"upstreams.{name}.base_url_env", upstream.base_url_env, environ, "the address")


def api_key(name: str, upstream: Upstream, environ: Mapping[str, str], folder: Path) -> str | None:
    """Return an upstream's API key from its file or the environment, None where it has none; raise ConfigError."""
    if upstream.api_key_file is not None:
        return _file(f"upstreams.{name}.api_key_file", folder / upstream.api_key_file)
    if upstream.api_key_env is None:
        return None
    return _variable(f"upstreams.{name}.api_key_env", upstream.api_key_env, environ, "the key")


def admin_key(server: Server, environ: Mapping[str, str], folder: Path) -> str | None:
    """Return the admin key from its file or the environment, None where the variable is not set; raise ConfigError."""
    if server.admin_key_file is not None:
        return _file("server.admin_key_file", folder / server.admin_key_file)
    return environ.get(server.admin_key_env) or None


def secret_files(config: Config) -> Iterator[str]:
    """Yield the names of the files with secrets, which are read again on a reload."""
    if config.server.admin_key_file is not None:
        yield config.server.admin_key_file
    yield from (each.api_key_file for each in config.upstreams.values() if each.api_key_file is not None)


def _variable(place: str, name: str, environ: Mapping[str, str], what: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"{place}: {name} is not in the environment; set it to {what}")
    return value


def _file(place: str, path: Path) -> str:
    """Read a secret, without the white space around it, as Kubernetes and systemd mount it."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        text = content.decode().strip()
    except OSError as exc:
        raise ConfigError(f"{place}: {path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{place}: {path}: is not text; write the secret alone into the file") from exc
    if not text.isprintable() or not 0 < len(content) <= _MAX_SECRET_BYTES or not text:
        raise ConfigError(f"{place}: {path}: must hold the secret alone, on one line")
    return text
