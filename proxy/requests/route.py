"""Routes: the configuration and policy by which a request is judged, and the table that finds a request's route."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gating.policy import Policy
from proxy.exceptions import Forbidden, NotFound
from proxy.requests.prompt.additions import prompted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.gate import Gate
    from proxy.clients.authentication import Caller
    from proxy.config import Route as RouteConfig
    from proxy.metrics import RouteMetrics, UpstreamMetrics
    from proxy.requests.prompt.additions import Examples
    from proxy.requests.prompt.context import Finder
    from proxy.surfaces.contract import Request, Surface
    from proxy.upstreams.client import UpstreamClient

#: The needs of scorers that an answer's logprobs meet.
_LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})
#: How many recent model names are cached; clients choose them, so the cache is bounded.
_REMEMBERED = 1_024
#: Longer model names are not looked up, so that the cache is bounded in bytes too.
_LONGEST_NAME = 1_024


@dataclass(frozen=True, slots=True)
class Route:
    """What one route's requests are judged by: its configuration, its policy, and the upstream that it asks.

    The services that work on its requests (gatherers, remedies, the recorder) belong to its ``Pipeline``.
    ``gate`` is None if the route's mode is ``off``.
    """

    config: RouteConfig
    upstream: UpstreamClient
    gate: Gate | None
    policy: str | None
    metrics: RouteMetrics
    upstream_metrics: UpstreamMetrics
    #: How many alternatives of each token the scorers read.
    top_logprobs: int
    #: The policy's unique version: ``support@3``, or a file's name and digest.
    version: str | None = None
    #: Whether the certificate is revoked, because labels refuted it or confidences drifted.
    revoked: bool = False
    #: Whether the policy applies to no request any more (``on_alarm: abstain`` or ``on_drift: abstain``).
    closed: bool = False
    #: Worked examples before every question.
    examples: Examples | None = None
    #: Finds the context of requests; None if the route has no ``rag`` section.
    context: Finder | None = None
    #: Whether the client's Authorization is sent to the route's upstream or to that of a route that it asks.
    forwards_credentials: bool = False
    #: LiteLLM's name of the upstream's provider; ``openai`` for upstreams that speak OpenAI's format.
    provider: str = "openai"
    #: The route's name in the configuration.
    name: str = field(init=False)
    #: Whether an answer waits for its verdict.
    holds: bool = field(init=False)
    #: Whether the gate's scorers read token logprobs.
    reads_logprobs: bool = field(init=False)
    #: Whether the route adds examples or a confidence target to its questions.
    adds_to_prompt: bool = field(init=False)
    #: Whether requests are compared with those that a policy was fitted on.
    compares: bool = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every request of the route would compute again."""
        config, gate = self.config, self.gate
        derived = {
            "name": config.name,
            "holds": config.mode == "enforce",
            "reads_logprobs": gate is not None and not gate.needs.isdisjoint(_LOGPROBS),
            "adds_to_prompt": self.examples is not None or config.confidence_prompt is not None,
            "compares": self.closed
            or (gate is not None and isinstance(gate.rule, Policy) and bool(gate.rule.fingerprint)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def certified(self) -> bool:
        """Whether answers of the route are certified, unless a request brings its own threshold."""
        return self.gate is not None and not self.revoked and self.gate.certified()

    def prompted(self, surface: Surface, request: Request) -> Request:
        """Return the request with the route's examples and target added to its last question."""
        return prompted(self.examples, self.config.confidence_prompt, surface, request)


def turns_to(route: RouteConfig) -> list[str]:
    """Return the names of the routes that a route may ask."""
    return [name for name in (route.escalate_to, route.judge) if name is not None]


def in_order(routes: Sequence[RouteConfig]) -> list[RouteConfig]:
    """Sort the routes so that each comes after the routes that it asks; the configuration has no cycles."""
    by_name = {route.name: route for route in routes}
    found: dict[str, RouteConfig] = {}

    def add(route: RouteConfig) -> None:
        if route.name not in found:
            for name in turns_to(route):
                add(by_name[name])
            found[route.name] = route

    for route in routes:
        add(route)
    return list(found.values())


class RouteTable:
    """The routes in the order of the configuration; the first that matches wins."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        #: Whether any of them withholds answers.
        self.any_holds = any(route.holds for route in self.routes)
        self._by_name = {route.name: route for route in routes}
        self._patterns = [
            (re.compile("|".join(translate(pattern) for pattern in route.config.models)), route)
            for route in routes
        ]
        self._match = lru_cache(maxsize=_REMEMBERED)(self._first_match)

    def find(self, model: str | None, caller: Caller, name: str | None = None) -> Route:
        """Return a request's route by its ``x-idk-route`` or its model; raises NotFound or Forbidden.

        ``x-idk-route`` chooses among the routes that take the model; ``model`` is None where a request has none.
        """
        if name is not None:
            route = self._by_name.get(name)
            if route is None or not caller.may_use(name):
                raise NotFound("x-idk-route names no route that this key may use", code="route_not_found")
            if model is not None and not self._takes(route, model):
                raise NotFound(
                    f"the route `{name}`, which x-idk-route names, does not take this model",
                    param="model",
                    code="model_not_found",
                )
            return route
        model = model or ""
        route = self._match(model) if len(model) <= _LONGEST_NAME else None
        if route is None:
            raise NotFound(
                "the model does not exist or no route takes it", param="model", code="model_not_found"
            )
        if not caller.may_use(route.name):
            raise Forbidden("this key may not use the model's route", param="model")
        return route

    def _takes(self, route: Route, model: str) -> bool:
        """Return whether the model is among a route's ``models``, or is its name."""
        if len(model) > _LONGEST_NAME:
            return False
        return model == route.name or any(
            other is route and pattern.match(model) is not None for pattern, other in self._patterns
        )

    def _first_match(self, model: str) -> Route | None:
        """Return the first route whose patterns match, or the route that has this name."""
        return next(
            (route for pattern, route in self._patterns if pattern.match(model)), self._by_name.get(model)
        )

    def usable(self, caller: Caller) -> list[Route]:
        """Return the routes that a caller may use."""
        return [route for route in self.routes if caller.may_use(route.name)]
