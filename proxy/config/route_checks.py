"""What must fit together in one route, and between the routes that turn to one another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gating import SCORERS
from proxy.config.nearest import nearest
from proxy.config.routes import lower

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.config.evidence import Embeddings
    from proxy.config.rag import Rag
    from proxy.config.routes import Route
    from proxy.config.upstreams import Upstream
    from proxy.config.whole import Config


def route_problems(place: str, route: Route, config: Config) -> Iterator[str]:
    """Of one route, whose place in the file is ``place``."""
    if route.upstream not in config.upstreams:
        mend = nearest(route.upstream, config.upstreams)
        yield f"{place}.upstream: `{route.upstream}` is not among upstreams; {mend}"
    for name, value in route.params.items():
        if not math.isfinite(value):
            yield f"{place}.params.{name}: is not a finite number"
    yield from _gate_problems(place, route)
    yield from _gathering_problems(place, route, config)
    if route.fallback is not None:
        yield from _gate_problems(f"{place}.fallback", lower(route))


def _gate_problems(place: str, route: Route) -> Iterator[str]:
    """Of the policy, or the score and its threshold."""
    for name in route.scorers:
        if name not in SCORERS:
            yield f"{place}.scorers: `{name}` is no scorer; {nearest(name, SCORERS)}"
    gated = route.policy is not None or route.score_threshold is not None
    if route.mode == "enforce" and not gated:
        yield (
            f"{place}: enforce needs a policy or a score_threshold: there is no default threshold on a raw "
            "score; use mode: observe until there is one"
        )
    if route.policy is not None and (route.scorers or route.score_threshold is not None):
        yield f"{place}: a policy brings its own scorers and threshold; leave scorers and score_threshold out"
    if route.policy is None and route.threshold is not None:
        yield f"{place}.threshold: is on the confidence, which needs a policy; without one set score_threshold"
    if route.policy is None and len(route.scorers) > 1:
        yield f"{place}.scorers: several scorers are combined by a policy; without one name a single scorer"
    if route.score_threshold is not None and not route.scorers:
        yield f"{place}.score_threshold: on which score? name one under scorers, as [mean_logprob]"
    if route.score_threshold is not None and math.isnan(route.score_threshold):
        yield f"{place}.score_threshold: is not a number"


def rag_problems(place: str, rag: Rag) -> Iterator[str]:
    """Of what stands around its questions."""
    if rag.instruct and not rag.rescue:
        yield f"{place}.rag.instruct: says how a rescue asks, and there is none; set rescue: true beside it"


def _gathering_problems(place: str, route: Route, config: Config) -> Iterator[str]:
    """Of the evidence that is asked for beside the answer."""
    if route.embeddings is not None:
        yield from _embeddings_problems(f"{place}.embeddings", route.embeddings, config.upstreams)
    others = {other.name: other for other in config.routes if other.name != route.name}
    if route.judge is not None and route.judge not in others:
        yield f"{place}.judge: `{route.judge}` is no other route; {nearest(route.judge, others)}"
    if route.on_low == "escalate" and route.escalate_to is None:
        yield f"{place}.escalate_to: to which route? on_low: escalate needs its name"
    if route.escalate_to is not None:
        yield from _escalation_problems(place, route, {other.name: other for other in config.routes})
    yield from _circle(place, route, {other.name: other for other in config.routes})


def _embeddings_problems(place: str, given: Embeddings, upstreams: Mapping[str, Upstream]) -> Iterator[str]:
    if (given.upstream is None, given.model is None) != (given.local is not None,) * 2:
        yield f"{place}: say upstream and model, or local alone"
    elif given.upstream is not None and given.upstream not in upstreams:
        mend = nearest(given.upstream, upstreams)
        yield f"{place}.upstream: `{given.upstream}` is not among upstreams; {mend}"


def _escalation_problems(place: str, route: Route, routes: Mapping[str, Route]) -> Iterator[str]:
    if route.on_low != "escalate":
        yield f"{place}.escalate_to: is used with on_low: escalate alone; set it, or leave escalate_to out"
    stronger = routes.get(route.escalate_to or "")
    if stronger is None:
        yield f"{place}.escalate_to: `{route.escalate_to}` is no route; {nearest(route.escalate_to or '', routes)}"
    elif stronger.mode == "off":
        yield f"{place}.escalate_to: `{stronger.name}` is off, so nothing gates its answers; use enforce or observe"
    elif _around(stronger) != _around(route):
        yield (
            f"{place}.escalate_to: `{stronger.name}` puts other rag.examples or another confidence_prompt around a "
            "question, and a request goes on with those that it has; give both routes the same"
        )


def _around(route: Route) -> tuple[object, ...]:
    """What it puts around a question."""
    return route.rag.examples, route.confidence_prompt


def _circle(place: str, route: Route, routes: Mapping[str, Route]) -> Iterator[str]:
    """Routes that turn to one another (to escalate, or for a judge) must end somewhere."""
    paths = [[route.name]]
    while paths:
        path = paths.pop()
        last = routes[path[-1]]
        for key, name in (("escalate_to", last.escalate_to), ("judge", last.judge)):
            if name is not None and name == route.name:
                yield f"{place}.{key}: is a circle: {' -> '.join([*path, name])}; the last route must abstain"
                return
            if name is not None and name in routes and name not in path:
                paths.append([*path, name])
