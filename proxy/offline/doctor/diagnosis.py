"""The diagnosis of a route: whether its upstreams give the evidence that its gate reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gating.gate import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.offline.doctor.probes import Deployment
    from proxy.requests.route import Route


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The evidence that a route's gate needs, and the part of it that is missing."""

    route: str
    needs: tuple[str, ...]
    source: str
    missing: tuple[str, ...]
    hints: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether the route's answers can be measured."""
        return not self.missing

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            "route": self.route,
            "needs": self.needs,
            "source": self.source,
            "measured": self.measured,
            "missing": self.missing,
            "hints": self.hints,
        }


def diagnosis(route: Route, found: Mapping[str, Deployment]) -> Diagnosis:
    """Diagnose a route; ``found`` holds the probed deployment of each route by the route's name."""
    needs = route.gate.needs if route.gate is not None else frozenset()
    own = found[route.name]
    return Diagnosis(
        route.name,
        tuple(sorted(needs)),
        source_of(needs),
        tuple(_missing(route, own, found)) if route.gate is not None else (),
        tuple(_hints(route, own)),
    )


def _missing(route: Route, own: Deployment, found: Mapping[str, Deployment]) -> Iterator[str]:
    needs = route.gate.needs if route.gate is not None else frozenset()
    config = route.config
    if not own.answers:
        yield f"{own.upstream}: {own.errors['answers']}"
        return
    if needs & {"logprobs", "top_logprobs"}:
        if not route.upstream.gives_logprobs:
            yield f"upstreams.{own.upstream}.logprobs: none, and the route's scorers read them"
        elif not own.abilities.get("logprobs"):
            yield f"{own.model} gives no logprobs; use scorers of samples (scorers: [agreement], samples: 5)"
        elif "top_logprobs" in needs and own.top_logprobs < route.top_logprobs:
            yield (
                f"{own.model} gives {own.top_logprobs} alternatives of each token, and {route.top_logprobs} are "
                "read; use mean_logprob in place of topk_entropy"
            )
    if "p_true" in needs and own.top_logprobs == 0:
        yield f"{own.model} gives no alternatives of a token, which P(True) reads; use agreement"
    for name in (config.judge,):
        if name is not None and "meanings" in needs and not found[name].answers:
            yield f"judge {name}: {found[name].errors['answers']}"


def _hints(route: Route, own: Deployment) -> Iterator[str]:
    """Yield hints on settings that work, but cost more or tell less than they could."""
    needs = route.gate.needs if route.gate is not None else frozenset()
    if "samples" in needs and own.abilities.get("n") is False:
        yield f"{own.model} gives one answer at a time: {route.config.samples} samples are as many calls"
    if not needs & {"logprobs", "top_logprobs"} and own.abilities.get("logprobs") and "samples" in needs:
        yield f"{own.model} gives logprobs, which cost nothing: try them before samples"
    if own.answers and not own.abilities.get("usage"):
        yield f"{own.model} does not count tokens: usage and budget.tokens cannot either"
