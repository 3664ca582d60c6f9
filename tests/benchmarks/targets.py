"""The project's performance targets, each as a ratio or figure of one run, and whether it was met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.load import Scenario
from tests.benchmarks.results import Results, Spread, added, cpu_ratio, rate_ratio, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Target:
    """``measure`` gives the figure, or None where the run has not measured it."""

    name: str
    measure: Callable[[Results], Spread | None]
    reach: float
    stretch: float
    unit: str
    at_least: bool = False

    def met(self, value: float, bound: float) -> bool:
        """Return whether the figure keeps the bound."""
        return value >= bound if self.at_least else value <= bound


def both(model: str, *, stream: bool = False, concurrency: int = 16) -> list[Scenario]:
    """Return the scenario with and without the client requesting logprobs."""
    return [Scenario(model, stream, asks, concurrency) for asks in (True, False)]


def _worst(spreads: Iterable[Spread | None], *, least: bool = False) -> Spread | None:
    known = [s for s in spreads if s is not None]
    if not known:
        return None
    return (min if least else max)(known, key=lambda s: s.middle)


def _cpu(contender: str, base: str, scenarios: Sequence[Scenario]) -> Callable[[Results], Spread | None]:
    return lambda results: _worst(results.against(contender, base, s, cpu_ratio) for s in scenarios)


def _streams_per_second(results: Results) -> Spread | None:
    scenarios = both("bench-large", stream=True, concurrency=64)
    gates = ("idk-off", "idk-observe", "idk-enforce")
    return _worst((results.against(g, "direct", s, rate_ratio) for g in gates for s in scenarios), least=True)


def _added_p50(results: Results) -> Spread | None:
    scenarios = both("bench-large", concurrency=1)
    ours = _worst(results.against("idk-enforce", "direct", s, added("total_p50")) for s in scenarios)
    nginx = results.against("nginx", "direct", scenarios[0], added("total_p50"))
    if ours is None or nginx is None or nginx.middle <= 0:
        return None
    return Spread(*(value / nginx.middle for value in (ours.middle, ours.least, ours.most)), ours.n)


def _first_chunk(results: Results) -> Spread | None:
    scenarios = both("bench-large", stream=True, concurrency=1)
    return _worst(results.against("idk-observe", "direct", s, added("first_p50")) for s in scenarios)


LARGE, SMALL, STREAM = both("bench-large"), both("bench-small"), both("bench-large", stream=True)
TARGETS: Sequence[Target] = (
    Target(
        "enforcing, 31 KB, CPU against LiteLLM's proxy",
        _cpu("idk-enforce", "litellm", LARGE),
        1 / 150,
        1 / 230,
        "x",
    ),
    Target("the same against Portkey", _cpu("idk-enforce", "portkey", LARGE), 1 / 20, 1 / 35, "x"),
    Target("the same against nginx without any gate", _cpu("idk-enforce", "nginx", LARGE), 12, 7, "x"),
    Target("gate off, 0.9 KB, CPU against TensorZero's", lambda _: None, 0.7, 0.4, "x"),
    Target("gate off, 0.9 KB, CPU against nginx", _cpu("idk-off", "nginx", SMALL), 8, 5, "x"),
    Target(
        "observing a stream with logprobs, CPU against nginx",
        _cpu("idk-observe", "nginx", STREAM),
        3.5,
        2.5,
        "x",
    ),
    Target(
        "streams/s at c = 64 against direct (worst mode)", _streams_per_second, 0.9, 0.95, "x", at_least=True
    ),
    Target("added p50 at c = 1, enforcing, 31 KB, against nginx's", _added_p50, 3, 2, "x"),
    Target("added time to first chunk, observing, c = 1", _first_chunk, 0.5, 0.3, "ms"),
    Target("start-up to the first 200", lambda r: spread([*r.start_s.get("idk-enforce", ())]), 0.6, 0.3, "s"),
    Target("RSS of a worker", lambda r: spread([*r.rss_mb.get("idk-enforce", ())]), 80, 60, "MB"),
)
