"""Checks of a configuration that types cannot express: references, pairs of keys, and unsafe settings."""

from __future__ import annotations

import ipaddress
import math
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gating import SCORERS
from proxy.config.schema import nearest
from proxy.config.sections import Config, Embeddings, Rag, Route, Server, Upstream, fallback_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def problems(config: Config) -> Iterator[str]:
    """Yield each problem of a configuration, as ``key: what is wrong; how to fix it``."""
    yield from _server_problems(config)
    for name, upstream in config.upstreams.items():
        yield from _upstream_problems(f"upstreams.{name}", upstream, config.upstreams)
    yield from _duplicates("routes", [route.name for route in config.routes])
    yield from _duplicates("keys", [key.name for key in config.keys])
    names = {route.name for route in config.routes}
    for key in config.keys:
        for name in key.routes or ():
            if name not in names:
                yield f"keys.{key.name}.routes: `{name}` is not a route; {nearest(name, names)}"
    for number, route in enumerate(config.routes):
        yield from _route_problems(f"routes[{number}]", route, config)


def warnings(config: Config) -> Iterator[str]:
    """Yield each setting that is allowed and probably a mistake, as ``key: what is wrong; how to fix it``."""
    for number, route in enumerate(config.routes):
        earlier = config.routes[:number]
        covers = [
            next(
                (other.name for other in earlier if any(_covers(each, model) for each in other.models)), None
            )
            for model in route.models
        ]
        if all(name is not None for name in covers):
            yield (
                f"routes[{number}].models: every model of `{route.name}` is taken by an earlier route "
                f"({', '.join(sorted(set(filter(None, covers))))}); put `{route.name}` first, or reach it by "
                "x-idk-route alone"
            )


def _covers(pattern: str, model: str) -> bool:
    """Return whether a pattern matches all that ``model``, a name or a pattern, matches."""
    return pattern == model or (not set(model) & set("?[") and fnmatchcase(model, pattern))


def _server_problems(config: Config) -> Iterator[str]:
    server = config.server
    if server.store_env is not None and server.store != Server().store:
        yield "server: has both store and store_env; keep one"
    if server.admin_key_file is not None and server.admin_key_env != Server().admin_key_env:
        yield "server: has both admin_key_env and admin_key_file; keep one"
    if not (config.keys or server.stored_keys or server.open or _is_loopback(server.host)):
        yield (
            f"server.host: {server.host} is reachable from other machines and there are no keys; "
            "add `keys:` (or `stored_keys: true`, and `idk key create`), or `open: true` if everyone may use it"
        )
    for network in server.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield f"server.trusted_proxies: `{network}` is not an address or network; write one such as 10.0.0.0/8"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _duplicates(place: str, names: list[str]) -> Iterator[str]:
    for name in names:
        if names.count(name) > 1:
            yield f"{place}: the name `{name}` is used twice; names are unique"
            return


def _upstream_problems(place: str, upstream: Upstream, known: Mapping[str, Upstream]) -> Iterator[str]:
    if upstream.of is not None:
        yield from _pool_problems(place, upstream, known)
        return
    if upstream.base_url is None and upstream.base_url_env is None and upstream.litellm is None:
        yield (
            f"{place}: has no address; set base_url (or base_url_env), or litellm: PROVIDER (with a "
            "base_url of that provider, if needed), or of: [NAME, …]"
        )
    if upstream.transport is not None:
        yield f"{place}.transport: the setting was removed, the proxy has one HTTP client; delete the line"
    if upstream.litellm is not None and upstream.auth == "forward":
        yield f"{place}.auth: LiteLLM takes its key from api_key_env only; remove auth: forward"
    for key in ("api_key_env", "api_key_file"):
        if upstream.auth == "forward" and getattr(upstream, key):
            yield f"{place}: auth: forward sends the client's own key; remove {key}"
    if upstream.api_key_env and upstream.api_key_file:
        yield f"{place}: has both api_key_env and api_key_file; keep one"
    if upstream.base_url and upstream.base_url_env:
        yield f"{place}: has both base_url and base_url_env; keep one"


def _pool_problems(place: str, pool: Upstream, known: Mapping[str, Upstream]) -> Iterator[str]:
    if pool != Upstream(of=pool.of):
        yield f"{place}: of: combines other upstreams, which have their own settings; remove the other keys"
    singles = {name for name, upstream in known.items() if upstream.of is None}
    for name in pool.of or ():
        if name not in singles:
            yield f"{place}.of: `{name}` is not a single upstream; {nearest(name, singles)}"
    if not pool.of:
        yield f"{place}.of: names no upstream; name at least one"
    elif isinstance(pool.of, dict):
        if not any(weight > 0 for weight in pool.of.values()):
            yield f"{place}.of: every weight is 0; give at least one upstream a larger weight"
    elif len(set(pool.of)) < len(pool.of):
        yield f"{place}.of: names an upstream twice; name each once"


def _route_problems(place: str, route: Route, config: Config) -> Iterator[str]:
    if route.upstream not in config.upstreams:
        hint = nearest(route.upstream, config.upstreams)
        yield f"{place}.upstream: `{route.upstream}` is not among upstreams; {hint}"
    for name, value in route.params.items():
        if not math.isfinite(value):
            yield f"{place}.params.{name}: is not a finite number"
    yield from _gate_problems(place, route)
    yield from _evidence_problems(place, route, config)
    if route.fallback is not None:
        yield from _gate_problems(f"{place}.fallback", fallback_of(route))
    yield from _rag_problems(place, route.rag)
    if route.mode == "off" and route.audit:
        yield f"{place}.audit: a route with mode: off judges no answer; use mode: observe"


def _gate_problems(place: str, route: Route) -> Iterator[str]:
    """Check the policy, or the raw score and its threshold."""
    for name in route.scorers:
        if name not in SCORERS:
            yield f"{place}.scorers: `{name}` is not a scorer; {nearest(name, SCORERS)}"
    gated = route.policy is not None or route.score_threshold is not None
    if route.mode == "enforce" and not gated:
        yield (
            f"{place}: enforce needs a policy or a score_threshold: there is no default threshold on a raw "
            "score; use mode: observe until there is one"
        )
    if route.policy is not None and (route.scorers or route.score_threshold is not None):
        yield f"{place}: a policy has its own scorers and threshold; remove scorers and score_threshold"
    if route.policy is None and route.threshold is not None:
        yield f"{place}.threshold: applies to the confidence, which needs a policy; set score_threshold instead"
    if route.policy is None and len(route.scorers) > 1:
        yield f"{place}.scorers: only a policy can combine several scorers; name a single scorer"
    if route.score_threshold is not None and not route.scorers:
        yield f"{place}.score_threshold: needs a scorer; name one, for example scorers: [mean_logprob]"
    if route.score_threshold is not None and not math.isfinite(route.score_threshold):
        yield f"{place}.score_threshold: is not a finite number"


def _rag_problems(place: str, rag: Rag) -> Iterator[str]:
    if rag.instruct and not rag.rescue:
        yield f"{place}.rag.instruct: applies to a rescue only; set rag.rescue: true, or remove it"


def _evidence_problems(place: str, route: Route, config: Config) -> Iterator[str]:
    """Check what the route asks for beside the answer, and the routes that it refers to."""
    routes = {other.name: other for other in config.routes}
    if route.embeddings is not None:
        yield from _embeddings_problems(f"{place}.embeddings", route.embeddings, config.upstreams)
    others = [name for name in routes if name != route.name]
    if route.judge is not None and route.judge not in others:
        yield f"{place}.judge: `{route.judge}` is not another route; {nearest(route.judge, others)}"
    if route.on_low == "escalate" and route.escalate_to is None:
        yield f"{place}.escalate_to: is missing; on_low: escalate needs the name of a route"
    if route.escalate_to is not None:
        yield from _escalation_problems(place, route, routes)
    yield from _cycle(place, route, routes)


def _embeddings_problems(place: str, given: Embeddings, upstreams: Mapping[str, Upstream]) -> Iterator[str]:
    if (given.upstream is None, given.model is None) != (given.local is not None,) * 2:
        yield f"{place}: set upstream and model, or local alone"
    elif given.upstream is not None and given.upstream not in upstreams:
        hint = nearest(given.upstream, upstreams)
        yield f"{place}.upstream: `{given.upstream}` is not among upstreams; {hint}"


def _escalation_problems(place: str, route: Route, routes: Mapping[str, Route]) -> Iterator[str]:
    if route.on_low != "escalate":
        yield f"{place}.escalate_to: is used with on_low: escalate only; set that, or remove escalate_to"
    stronger = routes.get(route.escalate_to or "")
    if stronger is None:
        hint = nearest(route.escalate_to or "", routes)
        yield f"{place}.escalate_to: `{route.escalate_to}` is not a route; {hint}"
    elif stronger.mode == "off":
        yield f"{place}.escalate_to: `{stronger.name}` is off and gates no answer; use enforce or observe there"
    elif _prompt(stronger) != _prompt(route):
        yield (
            f"{place}.escalate_to: `{stronger.name}` has other rag.examples or another confidence_prompt, but an "
            "escalated request keeps those of its first route; give both routes the same"
        )


def _prompt(route: Route) -> tuple[object, ...]:
    """Return what the route adds to a question."""
    return route.rag.examples, route.confidence_prompt


def _cycle(place: str, route: Route, routes: Mapping[str, Route]) -> Iterator[str]:
    """Check that a chain of escalations and judges from the route does not lead back to it."""
    paths = [[route.name]]
    while paths:
        path = paths.pop()
        last = routes[path[-1]]
        for key, name in (("escalate_to", last.escalate_to), ("judge", last.judge)):
            if name is not None and name == route.name:
                yield f"{place}.{key}: is a cycle: {' -> '.join([*path, name])}; the last route must abstain"
                return
            if name is not None and name in routes and name not in path:
                paths.append([*path, name])
