"""A file or a text becomes a checked configuration."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from proxy.config.checks import problems
from proxy.config.sections import schema_problem
from proxy.config.whole import Config
from proxy.config.yaml_text import tree_of
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def load(path: Path) -> Config:
    """Read and check one file; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file; `idk init` writes a commented one") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    return parse(text, str(path))


def parse(text: str, where: str) -> Config:
    """Check the text of a configuration; ``where`` names it in errors."""
    tree = tree_of(text, where)
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {schema_problem(exc, tree)}") from exc
    return checked(config, where)


def checked(config: Config, where: str) -> Config:
    """The same, if nothing is wrong that types cannot say; else raises ConfigError."""
    for problem in problems(config):
        raise ConfigError(f"{where}: {problem}")
    return config


def with_server(config: Config, given: Mapping[str, Any], where: str) -> Config:
    """The same with these values in its ``server`` section, checked anew; raises ConfigError."""
    server = msgspec.structs.replace(config.server, **given)
    return checked(msgspec.structs.replace(config, server=server), where)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Begin every ConfigError of the body with ``where``, the file whose values are being used."""
    try:
        yield
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc


def for_upstream(base_url: str) -> Config:
    """The configuration of ``idk serve --upstream URL``: one route for every model, observing."""
    return parse(
        yaml.safe_dump(
            {
                # Nobody who names no file expects to find one afterwards.
                "server": {"store": "memory://"},
                "upstreams": {"upstream": {"base_url": base_url, "auth": "forward"}},
                "routes": [
                    {"name": "default", "models": ["*"], "upstream": "upstream", "scorers": ["mean_logprob"]}
                ],
            }
        ),
        "--upstream",
    )
