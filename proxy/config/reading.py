"""Reading `idk.yaml`: from a file or a text to a checked configuration."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.config.checks import problems
from proxy.config.schema import config_of
from proxy.config.yaml_reader import tree_of
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxy.config.sections import Config


def load(path: Path) -> Config:
    """Read and check one file; raise ConfigError where it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file; `idk init` writes a commented one") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: cannot be read: it is not UTF-8 text") from exc
    return parse(text, str(path))


def parse(text: str, where: str) -> Config:
    """Read and check the text of a configuration; ``where`` names it in errors."""
    return checked(config_of(tree_of(text, where), where), where)


def checked(config: Config, where: str) -> Config:
    """Return the configuration if its values fit together; raise ConfigError otherwise."""
    for problem in problems(config):
        raise ConfigError(f"{where}: {problem}")
    return config


def with_server(config: Config, given: Mapping[str, Any], where: str) -> Config:
    """Replace values of the ``server`` section and check the result; raise ConfigError where it cannot be used."""
    server = msgspec.structs.replace(config.server, **given)
    return checked(msgspec.structs.replace(config, server=server), where)


@contextmanager
def error_prefix(where: str) -> Iterator[None]:
    """Begin every ConfigError of the body with ``where``, the file whose values are used."""
    try:
        yield
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc


def for_upstream(base_url: str) -> Config:
    """Return the configuration of ``idk serve --upstream URL``: one route for every model, observing."""
    tree = {
        # Without a configuration file, the proxy leaves no file behind either.
        "server": {"store": "memory://"},
        "upstreams": {"upstream": {"base_url": base_url, "auth": "forward"}},
        "routes": [{"name": "default", "models": ["*"], "upstream": "upstream", "scorers": ["mean_logprob"]}],
    }
    return checked(config_of(tree, "--upstream"), "--upstream")
