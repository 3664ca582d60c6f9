"""What msgspec refuses, said by section and key, with the nearest key that is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.config.evidence import Budget, Embeddings, Sampling
from proxy.config.keys import Key
from proxy.config.nearest import nearest
from proxy.config.rag import Example, Rag
from proxy.config.routes import Fallback, Route
from proxy.config.server import Retention, Server
from proxy.config.upstreams import Breaker, Upstream
from proxy.config.whole import Config

if TYPE_CHECKING:
    from msgspec import Struct

#: The sections by the shape of their place in the file; a key that none of them knows is refused. The inner ones
#: stand first, and the first shape that fits is taken; the reference of the configuration goes the other way.
SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    (r"server\.retention", Retention),
    (r"server", Server),
    (r"keys\[.*\]", Key),
    (r"upstreams\[.*\]\.breaker", Breaker),
    (r"upstreams\[.*\]", Upstream),
    (r"routes\[.*\]\.budget", Budget),
    (r"routes\[.*\]\.sampling", Sampling),
    (r"routes\[.*\]\.fallback", Fallback),
    (r"routes\[.*\]\.embeddings", Embeddings),
    (r"routes\[.*\]\.rag\.examples\[.*\]", Example),
    (r"routes\[.*\]\.rag", Rag),
    (r"routes\[.*\]", Route),
    (r"", Config),
)

_PATH = re.compile(r" - at `(?:key` in `)?\$?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`", re.DOTALL)


def schema_problem(exc: msgspec.ValidationError, tree: Any) -> str:
    """Msgspec's message, turned into ``key: what is wrong`` with the nearest known key."""
    message = str(exc)
    found = _PATH.search(message)
    place = found.group(1).lstrip(".") if found else ""
    message = _PATH.sub("", message)
    unknown = _UNKNOWN.match(message)
    if unknown:
        key = unknown.group(1)
        return f"{_join(_named(place, tree), key)}: unknown key; {nearest(key, _known_keys(place))}"
    return f"{_named(place, tree) or 'the file'}: {message[0].lower()}{message[1:]}"


def _named(place: str, tree: Any) -> str:
    """``place`` with the name of the upstream, which msgspec leaves out (``upstreams[...]``)."""
    section, dots, rest = place.partition("[...]")
    if section != "upstreams" or not dots:
        return place
    for name, upstream in tree["upstreams"].items():
        try:
            msgspec.convert(upstream, Upstream)
        except msgspec.ValidationError:
            return f"upstreams.{name}{rest}"
    return place


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _known_keys(place: str) -> tuple[str, ...]:
    section: type[Struct] = next(section for shape, section in SECTIONS if re.fullmatch(shape, place))
    return section.__struct_fields__
