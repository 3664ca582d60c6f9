"""What one run of the benchmark found: samples by contender, scenario and round, and the figures made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.load import Run, Scenario


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one scenario; ``cpu_s`` is the server's CPU in it, None where there is no server."""

    run: Run
    cpu_s: float | None

    @property
    def cpu_ms(self) -> float | None:
        """CPU of one request; None where none was answered."""
        if self.cpu_s is None or not self.run.requests:
            return None
        return self.cpu_s / self.run.requests * 1000

    @property
    def rate(self) -> float:
        return self.run.requests / self.run.seconds


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest over the rounds."""

    middle: float
    least: float
    most: float
    n: int


@dataclass(slots=True)
class Results:
    """Filled while the benchmark runs; ``rounds[r][contender, scenario]`` is that round's sample."""

    facts: dict[str, str]
    titles: dict[str, str]
    rounds: list[dict[tuple[str, Scenario], Sample]] = field(default_factory=list)
    start_s: dict[str, list[float]] = field(default_factory=dict)
    rss_mb: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def figure(
        self, contender: str, scenario: Scenario, read: Callable[[Sample], float | None]
    ) -> Spread | None:
        """Return the spread of a figure over the rounds; None where it was not measured."""
        key = (contender, scenario)
        return spread([read(samples[key]) for samples in self.rounds if key in samples])

    def against(
        self, contender: str, base: str, scenario: Scenario, compare: Callable[[Sample, Sample], float | None]
    ) -> Spread | None:
        """Return the spread over the rounds of a comparison of two contenders within each round.

        The base is measured with the client asking: contenders that do not gate do the same either way.
        """
        if contender == base:
            return None
        keys = (contender, scenario), (base, scenario.asking)
        return spread([compare(s[keys[0]], s[keys[1]]) for s in self.rounds if all(k in s for k in keys)])

    @property
    def errors(self) -> Counter[str]:
        """Failed requests by contender, in all samples."""
        failed: Counter[str] = Counter()
        for samples in self.rounds:
            for (contender, _), sample in samples.items():
                failed[contender] += sample.run.errors
        return +failed


def spread(values: list[float | None]) -> Spread | None:
    """Over the values that were measured."""
    known = [v for v in values if v is not None]
    return Spread(median(known), min(known), max(known), len(known)) if known else None


def cpu_ratio(sample: Sample, base: Sample) -> float | None:
    """CPU of a request over the base's."""
    return sample.cpu_ms / base.cpu_ms if sample.cpu_ms is not None and base.cpu_ms else None


def rate_ratio(sample: Sample, base: Sample) -> float | None:
    """Requests per second over the base's."""
    return sample.rate / base.rate if base.rate else None


def added(name: str) -> Callable[[Sample, Sample], float | None]:
    """Milliseconds by which a time of ``Run`` exceeds the base's."""

    def compare(sample: Sample, base: Sample) -> float | None:
        ours, theirs = getattr(sample.run, name), getattr(base.run, name)
        return (ours - theirs) / 1000 if sample.run.requests and base.run.requests else None

    return compare
