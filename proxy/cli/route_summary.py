"""Summaries of routes in force, for `idk check` and the log of `idk serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gating import Gate
    from proxy.requests.route import Route


def route_line(route: Route) -> str:
    """Return one line about a route: its models, its upstream and its gate."""
    return f"{route.name}: {', '.join(route.config.models)} -> {route.upstream.name}, {summary(route)}"


def summary(route: Route) -> str:
    """Summarise what the gate of a route does."""
    config, gate = route.config, route.gate
    if gate is None:
        return "off"
    if route.policy is not None:
        certified = "certified" if gate.certified() else "not certified"
        return f"{config.mode} by policy {route.policy} at confidence {_threshold(gate)}, {certified}"
    if config.score_threshold is not None:
        return f"{config.mode} by {config.scorers[0]} >= {config.score_threshold:g}, uncalibrated"
    return f"{config.mode}, no threshold"


def _threshold(gate: Gate) -> str:
    """Format the threshold in force, or the threshold of each condition."""
    from gating.policy import Policy

    rule = gate.rule
    if gate.threshold is None and isinstance(rule, Policy) and rule.conditions is not None:
        return ", ".join(
            f"{name} {'never' if group.threshold is None else format(group.threshold, '.3g')}"
            for name, group in rule.conditions.groups.items()
        )
    return f"{gate.limit:.3g}"


def describe(route: Route) -> dict[str, object]:
    """Return a route as JSON values."""
    return {
        "name": route.name,
        "models": list(route.config.models),
        "upstream": route.upstream.name,
        "mode": route.config.mode,
        "policy": route.policy,
        "threshold": None if route.gate is None else route.gate.limit,
        "certified": route.gate is not None and route.gate.certified(),
    }
