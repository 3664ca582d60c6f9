"""The demonstration with passages: what they do to a gate that was fitted without, and what its own conditions mend.

Questions of the project's own are asked without passages, with their own and with another question's, and their facts
are dealt into five parts. For each part two policies are fitted on the four others for the same target: one as if there
were no passages, one that tells conditions apart. Both judge the same answers of the part, on which nothing was fitted;
where the second policy withholds, the answer without passages is judged in its place, as a route with a rescue does it.
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
from gating.threshold import threshold_for_cost
from gating.types import Evidence, GatingError
from proxy import app, records
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.demo.setting import BEFORE, MAX_TOKENS, Setting
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

#: The answers are a few words, wrong where one of them is: over 24 splits of one set of answers its gates let out
#: more of what is right, and less of what is wrong, than those by the mean, the sum or the first token.
SCORER = ("min_logprob",)
#: Into which the facts are dealt.
PARTS = 5
#: Ways to deal them that are tried besides: one alone moves the errors among answered by two points either way.
DEALS = 24


@dataclass(frozen=True, slots=True)
class MostlyFit(tuning.WrongCost):
    """The cost of a wrong answer, with nearly every label for the fit: the part that is left out is the test."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The splits."""
        return {"fit": 0.9, "test": 0.1}

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"A wrong answer costs {self.cost:g} times what a right one is worth: both gates answer from\n"
            f"  confidence {threshold_for_cost(self.cost):.2f} on."
        )


@dataclass(frozen=True, slots=True)
class Estimated(tuning.TargetRisk):
    """A share of wrong answers as the labels estimate it, half of which choose the thresholds: no certificate."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The splits."""
        return {"fit": 0.45, "pilot": 0.05, "certify": 0.45, "test": 0.05}

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"Both gates have the same target: {100 * self.target_risk:g} % wrong of what they answer, as the\n"
            "  labels that they are fitted on estimate it."
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How many ``questions`` are asked, how long that may take, in which words, what for.

    One question in ``relevant_in`` is asked with its own passages too: those need less proof.

    The model may decline: over-refusal is what passages do to that. A larger model hardly does where passages
    merely stand before the question; where they are called so, as retrieval does it, a small one declines four
    in ten questions even without them.
    """

    questions: int
    limit_s: float
    allowed: str
    template: str
    goal: MostlyFit | Estimated
    relevant_in: int = 3

    @property
    def system(self) -> str:
        """The system prompt."""
        return f"{SYSTEM_PROMPT} {self.allowed}"

    @property
    def rag(self) -> Mapping[str, object]:
        """The ``rag`` section of the routes."""
        return {"context": "request", "template": self.template}


_SMALL = Plan(
    210,
    310.0,
    'If you do not know the answer, reply "I don\'t know."',
    "{context}\n\n{question}",
    MostlyFit(3.0),
)
#: By model.
PLANS: Mapping[str, Plan] = {
    "0.5b": _SMALL,
    "1.5b": Plan(
        320,
        1_500.0,
        'Reply "I don\'t know." if you are not sure of the answer.',
        "Passage: {context}\n\nQuestion: {question}",
        Estimated(0.25),  # what it gets wrong of all that it says without passages
        5,
    ),
    "smollm2": _SMALL,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer: what the model ``alone`` said, and what each gate made of it."""

    record: Record
    alone: Case
    before: Case
    after: Case
    rescued: Case

    @property
    def came_back(self) -> bool:
        """Whether it goes out by a rescue, whatever it is worth."""
        return self.after.label == "abstained" != self.rescued.label


#: The columns of the table, and what they are called.
GATES: Mapping[str, str] = {
    "alone": "the model alone",
    "before": "gate without conditions",
    "after": "gate with conditions",
    "rescued": "and rescue",
}


def ask(
    setting: Setting,
    questions: Sequence[Question],
    plan: Plan,
    path: Path,
    *,
    concurrency: int,
    told: Callable[[], None],
) -> list[Record]:
    """The records of all answers that came in the plan's time, kept at ``path``. Raises ConfigError, RunError."""
    asyncio.run(_ask(setting, _posed(questions, relevant_in=plan.relevant_in), path, plan, concurrency, told))
    return [record for record, _ in records.lines(path, records.Record)]


def calls(questions: int, plan: Plan) -> int:
    """How many answers that are."""
    return 2 * questions + -(-questions // plan.relevant_in)


def _posed(questions: Sequence[Question], *, relevant_in: int) -> Iterator[records.Question]:
    own = [records.Question(**one.to_dict(), context=[one.passage or ""]) for one in questions]
    place = {one.id: place for place, one in enumerate(own)}
    for question in under_conditions(own, ("none", "relevant", "irrelevant")):
        if question.condition != "relevant" or place[question.id] % relevant_in == 0:
            yield question


async def _ask(
    setting: Setting,
    asked: Iterable[records.Question],
    path: Path,
    plan: Plan,
    concurrency: int,
    told: Callable[[], None],
) -> None:
    deadline = time.monotonic() + plan.limit_s
    loaded = setting.config(BEFORE)
    parts = app.build(loaded, folder=setting.folder, environ=os.environ)
    pipeline = next(iter(parts.pipelines.values()))
    asker = Asker(
        route=pipeline.route,
        gatherers=pipeline.gatherers,
        model=setting.model,
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

    sink = records.Appender(path)
    try:
        await Run(asker, sink, set(), lambda _: told()).ask_all(in_time, concurrency)
    finally:
        sink.close()
        await parts.aclose()


def fitted(found: Sequence[Record], goal: Goal, seed: int) -> tuple[Policy, Policy]:
    """The policy that knows of no passages, and the one that tells them apart; raises RunError."""
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
    """What a gate sees that knows of no passages."""
    return Evidence(record.answer, token_logprobs=record.token_logprobs)


def judged(found: Sequence[Record], goal: Goal, seed: int) -> list[Outcome]:
    """What policies that were fitted on the other parts make of each answer; raises RunError."""
    facts = sorted({_fact(record) for record in found})
    Random(seed).shuffle(facts)  # noqa: S311 - a split, not a secret
    part = {fact: place % PARTS for place, fact in enumerate(facts)}
    made: list[Outcome] = []
    for each in range(PARTS):
        policies = fitted([one for one in found if part[_fact(one)] != each], goal, seed)
        made += outcomes([one for one in found if part[_fact(one)] == each], *policies)
    return made


def _fact(record: Record) -> str:
    return record.group or record.id


def outcomes(found: Sequence[Record], before: Policy, after: Policy) -> list[Outcome]:
    """What both policies make of each answer, by the code that serves."""
    plain, gate = Gate(before), Gate(after)
    return [one for record in found if (one := _outcome(record, plain, gate)) is not None]


def _outcome(record: Record, plain: Gate, gate: Gate) -> Outcome | None:
    alone = case_of(record)
    if alone is None:
        return None
    withheld = alone._replace(label="abstained")
    passes = gate.decide(record.evidence()).served
    rescued = alone if passes else withheld
    if not passes and record.without is not None:
        evidence, label = record.without
        rescued = alone._replace(label=label) if gate.decide(evidence).served else withheld
    return Outcome(
        record,
        alone,
        before=alone if plain.decide(_plain(record)).served else withheld,
        after=alone if passes else withheld,
        rescued=rescued,
    )


def tally(found: Iterable[Outcome], gate: str, condition: str) -> ConditionCounts:
    """The outcomes of one condition under one of the GATES."""
    cases: list[Case] = [getattr(one, gate) for one in found]
    return count_conditions(case for case in cases if case.condition == condition).get(
        condition, ConditionCounts()
    )


@dataclass(frozen=True, slots=True)
class Returned:
    """Of the questions that are right without passages and refused with another question's, those that come back."""

    refused: int
    right: int
    wrong: int

    @classmethod
    def of(cls, found: Iterable[Outcome]) -> Returned:
        """Counted over all of them."""
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
        """Whether there are any, and at least half come back right."""
        return 0 < self.refused <= 2 * self.right


@dataclass(frozen=True, slots=True)
class Dealt:
    """What several ways to deal the same facts come to: ``wrong`` by gate, over all of them, and what comes back.

    ``halved``: in how many the rescue's share wrong of answered is at most half that of the gate without conditions,
    ``no_higher``: at most as high, ``half_back``: at least half of what passages made refused comes back right.
    """

    ways: int
    wrong: Mapping[str, Share]
    returned: Share
    halved: int
    no_higher: int
    half_back: int

    @classmethod
    def of(cls, deals: Sequence[Sequence[Outcome]]) -> Dealt:
        """Counted over all of them, each answer once in each."""
        wrong = {gate: [tally(found, gate, "irrelevant").wrong for found in deals] for gate in GATES}
        returned = [Returned.of(found) for found in deals]
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
    """Unknown, and so neither lower nor higher, where nothing is answered."""
    return wrong.count / wrong.n if wrong.n else nan
