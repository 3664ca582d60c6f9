"""How far a verdict must go: what is settled before samples, what with them, and what a stronger route settles.

All figures are of answers and samples that were drawn before, read by the code that serves. A sample is counted
with the tokens of the answer beside it: records do not tell how many it has.
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

#: Answers that are looked at: what more of them would tell is narrower than the digits shown.
MOST_DRAWN = 2_000


class Manner(NamedTuple):
    """How samples are drawn; see ``sampling.wait`` and ``sampling.level`` of a route."""

    wait: Wait
    level: float = 0.0

    def __str__(self) -> str:
        return f"{self.wait}, level {self.level:g}" if self.level else self.wait


class Asked(NamedTuple):
    """One answer under one gate: how it is labelled, whether it goes out, and what was drawn beside it.

    ``tokens`` are the answer's own, None where they were not counted.
    """

    outcome: int
    served: bool
    samples: int
    tokens: int | None


def ask(gate: Gate, record: Record, manner: Manner) -> Asked:
    """What a route with this gate does with a record's answer and samples."""
    evidence = record.evidence()
    seen = drawn(gate, evidence, manner.wait, level=manner.level)
    decision = decide(gate, seen, len(evidence.samples), level=manner.level)
    outcome = ABSTAINED if is_abstention(record.answer) else OUTCOMES[record.label]
    tokens = None if record.token_logprobs is None else len(record.token_logprobs)
    return Asked(outcome, decision.served, len(seen.samples), tokens)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to answer: what goes out, and what a request costs in the mean.

    ``generations`` counts everything that a model writes for it, samples included; ``tokens`` those of all that,
    None where they are not known. ``settled``: the share that no sample was drawn for.
    """

    outcome: HeldOut
    generations: float
    tokens: float | None
    settled: float

    @classmethod
    def of(cls, asked: Sequence[Sequence[Asked]]) -> Way:
        """Of the gates (m,) that each request (n,) came to, n >= 1: the last one's word is what goes out."""
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
    """One gate of a cascade: of the requests that ``reached`` it, the answers that went out there."""

    policy: str
    reached: int
    right: int
    wrong: int

    @classmethod
    def of(cls, policy: str, asked: Sequence[Asked]) -> Stage:
        """From what came to it."""
        served = [one.outcome for one in asked if one.served]
        return cls(policy, len(asked), served.count(RIGHT), served.count(WRONG))


@dataclass(frozen=True, slots=True)
class Cascade:
    """A route that asks a stronger one where it withholds, on ``n`` requests that both have answered.

    ``ways``: the cascade, and each of the two routes alone.
    """

    n: int
    stages: tuple[Stage, ...]
    ways: Mapping[str, Way]


class Draws:
    """Collects, answer by answer, what each manner of drawing samples does under one policy."""

    def __init__(self, policy: Policy, manners: Iterable[Manner]) -> None:
        self._gate = gate_of(policy)
        if self._gate is not None and not reads_samples(self._gate):
            self._gate = None
        self._asked: dict[Manner, list[tuple[Asked]]] = {manner: [] for manner in manners}

    def add(self, record: Record) -> None:
        """One more; no more than MOST_DRAWN are looked at."""
        for manner, asked in self._asked.items():
            if self._gate is not None and len(asked) < MOST_DRAWN:
                asked.append((ask(self._gate, record, manner),))

    def ways(self) -> dict[str, Way]:
        """By manner; empty where the policy reads no samples, has no threshold, or there was no answer."""
        return {str(manner): Way.of(asked) for manner, asked in self._asked.items() if asked}


def manners(level: float | None = None) -> tuple[Manner, ...]:
    """Those that are compared; with a ``level`` in (0, 1) the test at that level too."""
    told = (Manner("none"), Manner("band"), Manner("sequential"))
    return told if not level else (*told, Manner("sequential", level))


def gate_of(policy: Policy) -> Gate | None:
    """Its gate, or None where it has no threshold."""
    try:
        return Gate(policy)
    except GatingError:
        return None


def cascade(
    first: Iterable[Record],
    policy: Policy,
    second: Iterable[Record],
    stronger: Policy,
    manner: Manner,
) -> Cascade:
    """Both routes on the requests whose id stands in both; raises GatingError where a policy has no threshold."""
    weak, strong = Gate(policy), Gate(stronger)
    others = {record.id: ask(strong, record, manner) for record in second}
    pairs = [(ask(weak, record, manner), others[record.id]) for record in first if record.id in others]
    if not pairs:
        raise GatingError("no id stands in both files; evaluate the same questions on both routes")
    return Cascade(
        n=len(pairs),
        stages=(
            Stage.of(policy.name, [one for one, _ in pairs]),
            Stage.of(stronger.name, [other for one, other in pairs if not one.served]),
        ),
        ways={
            "cascade": Way.of([pair[:1] if pair[0].served else pair for pair in pairs]),
            "first alone": Way.of([pair[:1] for pair in pairs]),
            "second alone": Way.of([pair[1:] for pair in pairs]),
        },
    )
