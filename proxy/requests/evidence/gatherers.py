"""The gatherers of a route, made from a table of the evidence that gates need."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError
from proxy.requests.evidence.budget import Slots
from proxy.requests.evidence.closed_book import ClosedBook
from proxy.requests.evidence.embeddings import AnswerVectors, UpstreamVectors
from proxy.requests.evidence.local import LocalVectors
from proxy.requests.evidence.meanings import Meanings
from proxy.requests.evidence.p_true import PTrue
from proxy.requests.evidence.samples import Samples
from proxy.requests.evidence.side_questions import SideQuestions
from proxy.requests.evidence.verbalised import Verbalised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gating.gate import Gate
    from gating.scorers import Need
    from proxy.config import Route as RouteConfig
    from proxy.requests.evidence.gathering import Gatherer
    from proxy.requests.evidence.local import LocalModels
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Surface
    from proxy.upstreams.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class GathererInputs:
    """The inputs of a route's gatherers. ``place`` names the route in errors; ``judge`` is its judge's route."""

    config: RouteConfig
    place: str
    slots: Slots
    chat: Surface
    upstreams: Mapping[str, UpstreamClient]
    local_models: LocalModels
    judge: Route | None

    @property
    def aside(self) -> SideQuestions:
        """What asks the route's own model."""
        return SideQuestions(self.chat, self.slots)


def _samples(inputs: GathererInputs) -> Gatherer:
    if not inputs.config.samples:
        raise ConfigError(
            f"{inputs.place}.samples: the route's scorers compare the answer with further samples; "
            "say how many (samples: 5)"
        )
    return Samples(inputs.config, inputs.slots)


def _meanings(inputs: GathererInputs) -> Gatherer:
    if inputs.judge is None:
        raise ConfigError(
            f"{inputs.place}.judge: agreement_judge asks a model which samples mean the same; "
            "name the route of that model"
        )
    return Meanings(SideQuestions(inputs.chat, inputs.slots, inputs.judge))


def _embeddings(inputs: GathererInputs) -> Gatherer:
    given = inputs.config.embeddings
    if given is None:
        raise ConfigError(
            f"{inputs.place}.embeddings: agreement_embedding compares vectors; say which model makes them: "
            "{upstream: NAME, model: NAME}, or {local: minilm}"
        )
    if given.local is not None:
        bench = inputs.local_models.get(given.local, f"{inputs.place}.embeddings.local")
        return AnswerVectors(LocalVectors(bench, inputs.slots))
    return AnswerVectors(
        UpstreamVectors(inputs.upstreams[given.upstream or ""], given.model or "", inputs.slots)
    )


#: The makers in the order in which gatherers start. Each raises ConfigError if a setting of the route is missing.
GATHERERS: Mapping[Need, Callable[[GathererInputs], Gatherer]] = MappingProxyType(
    {
        "samples": _samples,
        "closed_book": lambda _: ClosedBook(),
        "p_true": lambda inputs: PTrue(inputs.aside),
        "verbalised": lambda inputs: Verbalised(inputs.aside),
        "meanings": _meanings,
        "embeddings": _embeddings,
    }
)
#: Evidence that an answer brings itself.
_WITH_THE_ANSWER: frozenset[Need] = frozenset({"logprobs", "top_logprobs"})


def make_gatherers(
    gate: Gate,
    config: RouteConfig,
    *,
    workers: int,
    chat: Surface,
    upstreams: Mapping[str, UpstreamClient],
    local_models: LocalModels,
    judge: Route | None = None,
) -> tuple[Gatherer, ...]:
    """Return the gatherers of one route, whose budget ``workers`` processes share. Raises ConfigError.

    A gate that could never measure anything is refused, since an observing route would seem to work.
    """
    place = f"routes.{config.name}"
    unknown = gate.needs - GATHERERS.keys() - _WITH_THE_ANSWER
    if unknown:
        raise ConfigError(
            f"{place}.{'scorers' if config.policy is None else 'policy'}: reads {', '.join(sorted(unknown))}, "
            "which this version cannot gather; use other scorers"
        )
    slots = Slots(max(1, config.budget.concurrency // workers))
    inputs = GathererInputs(config, place, slots, chat, upstreams, local_models, judge)
    return tuple(make(inputs) for need, make in GATHERERS.items() if need in gate.needs)
