"""A YAML reader that is stricter than PyYAML."""

from __future__ import annotations

import re
from typing import Any

import yaml

from proxy.exceptions import ConfigError

_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """A safe loader that rejects duplicate keys and reads only ``true`` and ``false`` as booleans.

    PyYAML keeps the last of two equal keys without a warning, and reads ``mode: off`` as YAML 1.1's false.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute, replaced as a whole
        first: [rule for rule in rules if rule[0] != _BOOL]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= sign <= "\udfff" for sign in node.value):
            raise _refused("a text contains an unpaired surrogate, which is not a character; remove it", node)
        return super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key must be plain text", key_node)
            if key_node.value == "<<":
                raise _refused("merge keys (<<) are not supported; write the keys out", key_node)
            if key_node.value in seen:
                raise _refused(f"duplicate key: `{key_node.value}` is given twice; keep one", key_node)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_implicit_resolver(_BOOL, re.compile("true|false|True|False|TRUE|FALSE"), list("tTfF"))


def tree_of(text: str, where: str) -> Any:
    """Parse YAML to plain values; raise ConfigError, which begins with ``where``."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader that also rejects duplicate keys
    except yaml.YAMLError as exc:
        raise ConfigError(f"{where}: {_yaml_problem(exc)}") from exc
    except ValueError as exc:  # a date or number that YAML's grammar allows and Python does not
        raise ConfigError(f"{where}: a value cannot be read: {exc}; put it in quotes") from exc
    except RecursionError as exc:
        raise ConfigError(
            f"{where}: nested too deeply; a configuration is at most a few levels deep"
        ) from exc


def _yaml_problem(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or str(exc).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark else f"not YAML: {problem}"
