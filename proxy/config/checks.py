"""What types cannot say of a configuration: references, pairs of keys, what is dangerous."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from proxy.config.nearest import nearest
from proxy.config.route_checks import rag_problems, route_problems
from proxy.config.upstreams import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.config.whole import Config


def problems(config: Config) -> Iterator[str]:
    """What types cannot say: references, pairs of keys, what is dangerous."""
    yield from _server_problems(config)
    for name, upstream in config.upstreams.items():
        yield from _upstream_problems(f"upstreams.{name}", upstream, config.upstreams)
    yield from _duplicates("routes", [route.name for route in config.routes])
    yield from _duplicates("keys", [key.name for key in config.keys])
    names = {route.name for route in config.routes}
    for key in config.keys:
        for name in key.routes or ():
            if name not in names:
                yield f"keys.{key.name}.routes: `{name}` is no route; {nearest(name, names)}"
    for place, route in enumerate(config.routes):
        yield from route_problems(f"routes[{place}]", route, config)
        yield from rag_problems(f"routes[{place}]", route.rag)
        if route.mode == "off" and route.audit:
            yield f"routes[{place}].audit: a route that is off judges nothing; use mode: observe"


def _server_problems(config: Config) -> Iterator[str]:
    server = config.server
    if not (config.keys or server.stored_keys or server.open or _is_loopback(server.host)):
        yield (
            f"server.host: {server.host} is reachable from other machines and there are no keys; "
            "add `keys:` (or `stored_keys: true`, and `idk key create`), or `open: true` if everyone may use it"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _upstream_problems(place: str, upstream: Upstream, known: Mapping[str, Upstream]) -> Iterator[str]:
    if upstream.of is not None:
        yield from _pool_problems(place, upstream, known)
        return
    if upstream.base_url is None and upstream.litellm is None:
        yield (
            f"{place}: give a base_url, or litellm: PROVIDER (a base_url beside it is the provider's), "
            "or of: [NAME, …]"
        )
    if upstream.litellm is not None and upstream.auth == "forward":
        yield f"{place}.auth: LiteLLM takes the key from api_key_env alone; leave auth: forward out"
    if upstream.auth == "forward" and upstream.api_key_env:
        yield f"{place}: auth: forward sends the client's own key; leave api_key_env out"


def _pool_problems(place: str, pool: Upstream, known: Mapping[str, Upstream]) -> Iterator[str]:
    if pool != Upstream(of=pool.of):
        yield f"{place}: of: makes one upstream of several, whose own keys stand with them; leave the others out"
    singles = {name for name, upstream in known.items() if upstream.of is None}
    for name in pool.of or ():
        if name not in singles:
            yield f"{place}.of: `{name}` is no upstream of its own; {nearest(name, singles)}"
    if not pool.of:
        yield f"{place}.of: names no upstream; name at least one"
    elif isinstance(pool.of, dict):
        if not any(weight > 0 for weight in pool.of.values()):
            yield f"{place}.of: every weight is 0; give one of them more"
    elif len(set(pool.of)) < len(pool.of):
        yield f"{place}.of: names an upstream twice; each stands once"


def _duplicates(place: str, names: list[str]) -> Iterator[str]:
    for name in names:
        if names.count(name) > 1:
            yield f"{place}: the name `{name}` stands twice; names are unique"
            return
