"""Which gatherers a route has: a table from what its gate needs to who brings it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError
from proxy.requests.evidence.asides import Aside
from proxy.requests.evidence.budget import Slots
from proxy.requests.evidence.closed_book import ClosedBook
from proxy.requests.evidence.embeddings import Embedded, FromUpstream
from proxy.requests.evidence.local import Here
from proxy.requests.evidence.meanings import Judged
from proxy.requests.evidence.p_true import AskedTrue
from proxy.requests.evidence.samples import Samples
from proxy.requests.evidence.verbalised import AskedInWords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gating.gate import Gate
    from gating.scorers import Need
    from proxy.config import Route as RouteConfig
    from proxy.requests.evidence.gathering import Gatherer
    from proxy.requests.evidence.local import Benches
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Surface
    from proxy.upstreams.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class Making:
    """What gatherers are made from. ``place`` names the route in errors, ``judge`` is the route that it names."""

    config: RouteConfig
    place: str
    slots: Slots
    chat: Surface
    upstreams: Mapping[str, UpstreamClient]
    benches: Benches
    judge: Route | None

    @property
    def aside(self) -> Aside:
        """Asks the route's own model."""
        return Aside(self.chat, self.slots)


def _samples(making: Making) -> Gatherer:
    if not making.config.samples:
        raise ConfigError(
            f"{making.place}.samples: the route's scorers compare the answer with further samples; "
            "say how many (samples: 5)"
        )
    return Samples(making.config, making.slots)


def _meanings(making: Making) -> Gatherer:
    if making.judge is None:
        raise ConfigError(
            f"{making.place}.judge: agreement_judge asks a model which samples mean the same; "
            "name the route of that model"
        )
    return Judged(Aside(making.chat, making.slots, making.judge))


def _embeddings(making: Making) -> Gatherer:
    given = making.config.embeddings
    if given is None:
        raise ConfigError(
            f"{making.place}.embeddings: agreement_embedding compares vectors; say which model makes them: "
            "{upstream: NAME, model: NAME}, or {local: minilm}"
        )
    if given.local is not None:
        bench = making.benches.get(given.local, f"{making.place}.embeddings.local")
        return Embedded(Here(bench, making.slots))
    return Embedded(FromUpstream(making.upstreams[given.upstream or ""], given.model or "", making.slots))


#: In the order in which they begin. Each raises ConfigError where the route does not say what it needs to.
GATHERERS: Mapping[Need, Callable[[Making], Gatherer]] = MappingProxyType(
    {
        "samples": _samples,
        "closed_book": lambda _: ClosedBook(),
        "p_true": lambda making: AskedTrue(making.aside),
        "verbalised": lambda making: AskedInWords(making.aside),
        "meanings": _meanings,
        "embeddings": _embeddings,
    }
)
#: What an answer brings itself.
_WITH_THE_ANSWER: frozenset[Need] = frozenset({"logprobs", "top_logprobs"})


def gatherers_of(
    gate: Gate,
    config: RouteConfig,
    *,
    workers: int,
    chat: Surface,
    upstreams: Mapping[str, UpstreamClient],
    benches: Benches,
    judge: Route | None = None,
) -> tuple[Gatherer, ...]:
    """Those of one route; ``workers`` processes share its budget. Raises ConfigError.

    A gate that would never measure anything is refused: an observing one would look as if it did.
    """
    place = f"routes.{config.name}"
    unknown = gate.needs - GATHERERS.keys() - _WITH_THE_ANSWER
    if unknown:
        raise ConfigError(
            f"{place}.{'scorers' if config.policy is None else 'policy'}: reads {', '.join(sorted(unknown))}, "
            "which this version does not gather; use other scorers"
        )
    slots = Slots(max(1, config.budget.concurrency // workers))
    making = Making(config, place, slots, chat, upstreams, benches, judge)
    return tuple(make(making) for need, make in GATHERERS.items() if need in gate.needs)
