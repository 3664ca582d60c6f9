"""The demonstration with passages: their effect on a gate, and that of conditions and a rescue.

Questions are asked without passages, with their own passage and with that of another question. Their facts are divided
into five parts. For each part two policies with the same target are fitted on the other four: one that ignores
passages, and one with a condition for them. Both judge the answers of the part, which were not used to fit them. Where
the second policy withholds, the answer without passages is judged instead, as on a route with a rescue.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from functools import partial
from math import nan
from random import Random
from typing import TYPE_CHECKING

from gating import Gate, tuning
from gating.grading import decided
from gating.threshold import threshold_for_cost
from gating.types import Evidence, GatingError
from proxy import app, records
from proxy.demo.demo_proxy import BEFORE, MAX_TOKENS, DemoSetup
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.exceptions import RunError
from proxy.offline.evaluation import Asker, Run
from proxy.offline.evaluation.contexts import under_conditions
from proxy.offline.evaluation.overrefusal import Case, ConditionCounts, Share, case_of, count_conditions
from proxy.server.bodies import Bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gating import Policy
    from gating.tuning import Goal
    from proxy.demo.questions import Question
    from proxy.records import Record

#: The answers are a few words long, and one wrong word makes them wrong: over 24 splits of one set of answers, gates on
#: the least likely token served more right and fewer wrong answers than those on the mean, the sum or the first token.
SCORER = ("min_logprob",)
#: The number of parts into which the facts are divided.
PARTS = 5
#: Further random divisions of the facts: between two of them the error among answered differs by up to two points.
DEALS = 24


@dataclass(frozen=True, slots=True)
class CostGoal(tuning.WrongCost):
    """A cost of a wrong answer that uses nearly every label for the fit, since the part left out is the test."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The sizes of the splits."""
        return {"fit": 0.9, "test": 0.1}

    @property
    def description(self) -> str:
        """The goal in a sentence."""
        return (
            f"A wrong answer costs {self.cost:g} times the value of a right one: both gates answer at\n"
            f"  confidence {threshold_for_cost(self.cost):.2f} or more."
        )


@dataclass(frozen=True, slots=True)
class EstimateGoal(tuning.TargetRisk):
    """An estimated share of wrong answers, without a certificate; half of the labels choose the threshold."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The sizes of the splits."""
        return {"fit": 0.45, "pilot": 0.05, "certify": 0.45, "test": 0.05}

    @property
    def description(self) -> str:
        """The goal in a sentence."""
        return (
            f"Both gates have the same target: {100 * self.target_risk:g} % wrong among answered, as estimated\n"
            "  from the labels that they are fitted on."
        )


@dataclass(frozen=True, slots=True)
class RagPlan:
    """The settings of a model: number of ``questions``, time limit, prompts and goal.

    One question in ``relevant_in`` is also asked with its own passage.

    The prompt allows the model to decline, since the demo measures how passages make it decline more (over-refusal).
    A larger model hardly declines if passages are merely put before the question. A small model declines four in ten
    questions even without passages if the prompt calls them passages, as retrieval prompts do.
    """

    questions: int
    limit_s: float
    allowed: str
    template: str
    goal: CostGoal | EstimateGoal
    relevant_in: int = 3

    @property
    def system(self) -> str:
        """The system prompt."""
        return f"{SYSTEM_PROMPT} {self.allowed}"

    @property
    def rag(self) -> Mapping[str, object]:
        """The ``rag`` section of the routes."""
        return {"context": "request", "template": self.template}


_SMALL = RagPlan(
    210,
    310.0,
    'If you do not know the answer, reply "I don\'t know."',
    "{context}\n\n{question}",
    CostGoal(3.0),
)
#: The settings of each model.
PLANS: Mapping[str, RagPlan] = {
    "0.5b": _SMALL,
    "1.5b": RagPlan(
        320,
        1_500.0,
        'Reply "I don\'t know." if you are not sure of the answer.',
        "Passage: {context}\n\nQuestion: {question}",
        EstimateGoal(0.25),  # its share of wrong answers without passages
        5,
    ),
    "smollm2": _SMALL,
}


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer with its label from the model ``alone`` and through each gate."""

    record: Record
    alone: Case
    before: Case
    after: Case
    rescued: Case


#: The gates that are compared, with their labels in the table.
GATES: Mapping[str, str] = {
    "alone": "the model alone",
    "before": "gate without conditions",
    "after": "gate with conditions",
    "rescued": "and rescue",
}


def ask(
    setup: DemoSetup,
    questions: Sequence[Question],
    plan: RagPlan,
    path: Path,
    *,
    concurrency: int,
    on_answer: Callable[[], None],
) -> list[Record]:
    """Ask the questions within the time limit, write their records to ``path`` and return them; raise RunError."""
    asyncio.run(
        _ask(setup, _conditions(questions, relevant_in=plan.relevant_in), path, plan, concurrency, on_answer)
    )
    return [record for record, _ in records.lines(path, records.Record)]


def calls(questions: int, plan: RagPlan) -> int:
    """Return the number of answers to ask for."""
    return 2 * questions + -(-questions // plan.relevant_in)


def _conditions(questions: Sequence[Question], *, relevant_in: int) -> Iterator[records.Question]:
    own = [records.Question(**one.to_dict(), context=[one.passage or ""]) for one in questions]
    place = {one.id: place for place, one in enumerate(own)}
    for question in under_conditions(own, ("none", "relevant", "irrelevant")):
        if question.condition != "relevant" or place[question.id] % relevant_in == 0:
            yield question


async def _ask(
    setup: DemoSetup,
    asked: Iterable[records.Question],
    path: Path,
    plan: RagPlan,
    concurrency: int,
    on_answer: Callable[[], None],
) -> None:
    deadline = time.monotonic() + plan.limit_s
    loaded = setup.config(BEFORE)
    parts = app.build(loaded, folder=setup.folder, environ=os.environ)
    pipeline = next(iter(parts.pipelines.values()))
    asker = Asker(
        route=pipeline.route,
        gatherers=pipeline.gatherers,
        model=setup.model,
        top_logprobs=app.TOP_LOGPROBS,
        bodies=Bodies(server=loaded.server),
        system=plan.system,
        params={"max_tokens": MAX_TOKENS},
    )

    def in_time() -> Iterator[records.Question]:
        for question in asked:
            if time.monotonic() > deadline:
                return
            yield question

    sink = records.Appender(path, asker.made_with)
    try:
        await Run(asker, sink, set(), lambda _: on_answer()).ask_all(in_time, concurrency)
    finally:
        sink.close()
        await parts.aclose()


def fitted(found: Sequence[Record], goal: Goal, seed: int) -> tuple[Policy, Policy]:
    """Fit a policy that ignores passages and one with a condition for them; raise RunError."""
    plain, conditional = tuning.Collector(), tuning.Collector()
    for record in found:
        if record.condition == "none":
            plain.add(_plain(record), record.label, _fact(record))
        conditional.add(record.evidence(), record.label, _fact(record), without=record.without)
    tune = partial(tuning.tune, goal=goal, scorers=SCORER, calibrator="platt", seed=seed, allow_estimate=True)
    try:
        before, after = tune(plain.graded()).policy, tune(conditional.graded(), by="passages").policy
        Gate(before), Gate(after)
    except GatingError as exc:
        raise RunError(f"demo-rag: {exc}; draw others with --seed, or ask another --model") from exc
    return before, after


def _plain(record: Record) -> Evidence:
    """Return the evidence for a gate that ignores passages."""
    return Evidence(record.answer, token_logprobs=record.token_logprobs)


def judged(found: Sequence[Record], goal: Goal, seed: int) -> list[JudgedAnswer]:
    """Judge each answer by policies fitted on the other parts; raise RunError."""
    facts = sorted({_fact(record) for record in found})
    Random(seed).shuffle(facts)  # noqa: S311 - a split, not a secret
    part = {fact: place % PARTS for place, fact in enumerate(facts)}
    made: list[JudgedAnswer] = []
    for each in range(PARTS):
        policies = fitted([one for one in found if part[_fact(one)] != each], goal, seed)
        made += outcomes([one for one in found if part[_fact(one)] == each], *policies)
    return made


def _fact(record: Record) -> str:
    return record.group or record.id


def outcomes(found: Sequence[Record], before: Policy, after: Policy) -> list[JudgedAnswer]:
    """Judge each answer by both policies, with the gate that the proxy uses."""
    plain, gate = Gate(before), Gate(after)
    return [one for record in found if (one := _outcome(record, plain, gate)) is not None]


def _outcome(record: Record, plain: Gate, gate: Gate) -> JudgedAnswer | None:
    alone = case_of(record)
    if alone is None:
        return None
    withheld = alone._replace(label="abstained")
    passes = gate.decide(record.evidence()).served
    rescued = alone if passes else withheld
    if not passes and record.without is not None:
        evidence, label = record.without
        rescued = alone._replace(label=decided(label)) if gate.decide(evidence).served else withheld
    return JudgedAnswer(
        record,
        alone,
        before=alone if plain.decide(_plain(record)).served else withheld,
        after=alone if passes else withheld,
        rescued=rescued,
    )


def tally(found: Iterable[JudgedAnswer], gate: str, condition: str) -> ConditionCounts:
    """Count the labels of one condition under one of the GATES."""
    cases: list[Case] = [getattr(one, gate) for one in found]
    return count_conditions(case for case in cases if case.condition == condition).get(
        condition, ConditionCounts()
    )


@dataclass(frozen=True, slots=True)
class Recovered:
    """Questions answered correctly without passages and refused with those of another question, and their rescues."""

    refused: int
    right: int
    wrong: int

    @classmethod
    def of(cls, found: Iterable[JudgedAnswer]) -> Recovered:
        """Count over all answers."""
        lost = [
            one
            for one in found
            if one.alone.condition == "irrelevant"
            and one.alone.label == "abstained"
            and one.alone.closed == "correct"
        ]
        back = [one.rescued.label for one in lost]
        return cls(len(lost), back.count("correct"), back.count("incorrect"))

    @property
    def half(self) -> bool:
        """Whether there are such questions and the rescue answers at least half of them correctly."""
        return 0 < self.refused <= 2 * self.right


@dataclass(frozen=True, slots=True)
class Repeats:
    """Results over several random divisions of the same facts: wrong answers by gate, and rescued questions.

    ``halved`` counts the divisions in which the gate with the rescue has at most half the error among answered of the
    gate without conditions, ``no_higher`` those in which it is not higher, and ``half_back`` those in which the rescue
    answers at least half of the wrongly refused questions correctly.
    """

    ways: int
    wrong: Mapping[str, Share]
    returned: Share
    halved: int
    no_higher: int
    half_back: int

    @classmethod
    def of(cls, deals: Sequence[Sequence[JudgedAnswer]]) -> Repeats:
        """Count over all divisions, each answer once in each."""
        wrong = {gate: [tally(found, gate, "irrelevant").wrong for found in deals] for gate in GATES}
        returned = [Recovered.of(found) for found in deals]
        pairs = list(zip(map(_rate, wrong["before"]), map(_rate, wrong["rescued"]), strict=True))
        return cls(
            len(deals),
            {
                gate: Share(sum(one.count for one in each), sum(one.n for one in each))
                for gate, each in wrong.items()
            },
            Share(sum(one.right for one in returned), sum(one.refused for one in returned)),
            halved=sum(after <= before / 2 for before, after in pairs),
            no_higher=sum(after <= before for before, after in pairs),
            half_back=sum(one.half for one in returned),
        )


def _rate(wrong: Share) -> float:
    """Return the error among answered; NaN, which compares false, where nothing is answered."""
    return wrong.count / wrong.n if wrong.n else nan
