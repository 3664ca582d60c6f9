"""Reading `idk.yaml`: from a file or a text to a checked configuration."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.config.checks import problems
from proxy.config.schema import config_of
from proxy.config.yaml_reader import tree_of
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxy.config.sections import Config


#: The files of a directory that are read.
_SUFFIXES: Final = (".yaml", ".yml")


def load(path: Path) -> Config:
    """Read and check a file, or the files of a directory; raise ConfigError where they cannot be used."""
    where = str(path)
    if not path.is_dir():
        return parse(_text(path), where)
    tree: dict[str, Any] = {}
    for file in files_of(path):
        part = tree_of(_text(file), str(file))
        if part is not None and not isinstance(part, dict):
            raise ConfigError(
                f"{file}: must be a mapping; each file of a directory holds sections of idk.yaml"
            )
        tree = _merged(tree, part or {})
    return checked(config_of(tree, where), where)


def files_of(path: Path) -> list[Path]:
    """Return the files of a configuration in the order of reading: the file itself, or those of a directory.

    Hidden files are left out: Kubernetes keeps the versions of a ConfigMap in them. Raises ConfigError.
    """
    if not path.is_dir():
        return [path]
    try:
        names = sorted(path.iterdir())
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    files = [each for each in names if each.suffix in _SUFFIXES and not each.name.startswith(".")]
    if not files:
        raise ConfigError(f"{path}: the directory has no .yaml file; `idk init` writes one")
    return files


def folder_of(path: Path) -> Path:
    """Return the folder to which relative paths of a configuration refer."""
    return path.resolve() if path.is_dir() else path.resolve().parent


def _merged(first: Any, second: Any) -> Any:
    """Merge a later file into an earlier one: mappings by key, lists one after the other, other values replaced."""
    if isinstance(first, dict) and isinstance(second, dict):
        both = {key: _merged(first[key], second[key]) for key in first.keys() & second.keys()}
        return {**first, **second, **both}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    return second


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file; `idk init` writes a commented one") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: cannot be read: it is not UTF-8 text") from exc


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
