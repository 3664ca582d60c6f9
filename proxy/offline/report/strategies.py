"""Strategies and their costs: when samples are drawn, and a cascade to a stronger route.

The figures replay recorded answers and samples through the code that serves requests. Records do not contain the
token counts of samples, so each sample is counted with as many tokens as the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gating import Gate, GatingError
from gating.answers import is_abstention
from gating.sampled import decide, drawn, reads_samples
from gating.tuning import ABSTAINED
from gating.tuning.figures import HeldOut
from gating.tuning.graded import OUTCOMES, RIGHT, WRONG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gating import Policy
    from gating.sampled import Wait
    from proxy.records import Record

#: The most answers that are replayed; more would not change the digits that are shown.
MOST_DRAWN = 2_000


class SamplingMode(NamedTuple):
    """A way to draw samples; see ``sampling.wait`` and ``sampling.level`` of a route."""

    wait: Wait
    level: float = 0.0

    def __str__(self) -> str:
        return f"{self.wait}, level {self.level:g}" if self.level else self.wait


class GatedAnswer(NamedTuple):
    """One answer under one gate: its outcome, whether it is served, and the number of samples drawn.

    ``tokens`` are those of the answer, None where they were not counted.
    """

    outcome: int
    served: bool
    samples: int
    tokens: int | None


def replay(gate: Gate, record: Record, mode: SamplingMode) -> GatedAnswer:
    """Replay a record's answer and samples through a route with this gate."""
    evidence = record.evidence()
    seen = drawn(gate, evidence, mode.wait, level=mode.level)
    decision = decide(gate, seen, len(evidence.samples), level=mode.level)
    outcome = ABSTAINED if is_abstention(record.answer) else OUTCOMES[record.label]
    tokens = None if record.token_logprobs is None else len(record.token_logprobs)
    return GatedAnswer(outcome, decision.served, len(seen.samples), tokens)


@dataclass(frozen=True, slots=True)
class Strategy:
    """The outcome and the mean cost of a request under one strategy.

    ``generations`` counts the answers that models write for a request, samples included, and ``tokens`` their
    tokens, None where they are not known. ``settled`` is the share of requests without any sample.
    """

    outcome: HeldOut
    generations: float
    tokens: float | None
    settled: float

    @classmethod
    def of(cls, asked: Sequence[Sequence[GatedAnswer]]) -> Strategy:
        """Summarise the gates (m,) that each of n >= 1 requests passed; the last gate of each decides."""
        last = [steps[-1] for steps in asked]
        every = [step for steps in asked for step in steps]
        tokens = [step.tokens * (1 + step.samples) for step in every if step.tokens is not None]
        return cls(
            outcome=HeldOut.of(
                np.array([step.outcome for step in last], dtype=np.int8),
                np.array([step.served for step in last], dtype=np.bool_),
            ),
            generations=sum(1 + step.samples for step in every) / len(asked),
            tokens=sum(tokens) / len(asked) if len(tokens) == len(every) else None,
            settled=sum(not any(step.samples for step in steps) for steps in asked) / len(asked),
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """One gate of a cascade: the requests that ``reached`` it, and the right and wrong answers served there."""

    policy: str
    reached: int
    right: int
    wrong: int

    @classmethod
    def of(cls, policy: str, asked: Sequence[GatedAnswer]) -> Stage:
        """Count the served answers of the requests that reached the gate."""
        served = [one.outcome for one in asked if one.served]
        return cls(policy, len(asked), served.count(RIGHT), served.count(WRONG))


@dataclass(frozen=True, slots=True)
class Cascade:
    """A route that asks a stronger route where it withholds, on ``n`` requests that both have answered.

    ``ways`` holds the strategies: the cascade, and each of the two routes alone.
    """

    n: int
    stages: tuple[Stage, ...]
    ways: Mapping[str, Strategy]


class SamplingCosts:
    """Collects, answer by answer, the outcome of each sampling mode under one policy."""

    def __init__(self, policy: Policy, sampling_modes: Iterable[SamplingMode]) -> None:
        self._gate = gate_of(policy)
        if self._gate is not None and not reads_samples(self._gate):
            self._gate = None
        self._asked: dict[SamplingMode, list[tuple[GatedAnswer]]] = {mode: [] for mode in sampling_modes}

    def add(self, record: Record) -> None:
        """Replay one more record, up to MOST_DRAWN of them."""
        for mode, asked in self._asked.items():
            if self._gate is not None and len(asked) < MOST_DRAWN:
                asked.append((replay(self._gate, record, mode),))

    def ways(self) -> dict[str, Strategy]:
        """Return the strategies by mode; empty without records, a threshold, or a scorer that reads samples."""
        return {str(mode): Strategy.of(asked) for mode, asked in self._asked.items() if asked}


def sampling_modes(level: float | None = None) -> tuple[SamplingMode, ...]:
    """Return the modes to compare; with a ``level`` in (0, 1) the sequential test at that level too."""
    modes = (SamplingMode("none"), SamplingMode("band"), SamplingMode("sequential"))
    return modes if not level else (*modes, SamplingMode("sequential", level))


def gate_of(policy: Policy) -> Gate | None:
    """Return the policy's gate; None where it has no threshold."""
    try:
        return Gate(policy)
    except GatingError:
        return None


def cascade(
    first: Iterable[Record],
    policy: Policy,
    second: Iterable[Record],
    stronger: Policy,
    mode: SamplingMode,
) -> Cascade:
    """Compare both routes on the ids that both files contain; raises GatingError where a policy has no threshold."""
    weak, strong = Gate(policy), Gate(stronger)
    others = {record.id: replay(strong, record, mode) for record in second}
    pairs = [(replay(weak, record, mode), others[record.id]) for record in first if record.id in others]
    if not pairs:
        raise GatingError("the files have no id in common; evaluate the same questions on both routes")
    return Cascade(
        n=len(pairs),
        stages=(
            Stage.of(policy.name, [one for one, _ in pairs]),
            Stage.of(stronger.name, [other for one, other in pairs if not one.served]),
        ),
        ways={
            "cascade": Strategy.of([pair[:1] if pair[0].served else pair for pair in pairs]),
            "first alone": Strategy.of([pair[:1] for pair in pairs]),
            "second alone": Strategy.of([pair[1:] for pair in pairs]),
        },
    )
