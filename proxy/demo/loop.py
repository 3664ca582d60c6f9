"""The loop by itself: observe, label the audit sample, tune, push, enforce; then two things go wrong, one at a time.

Real ``idk serve`` processes ask an embedded model. A person's part, the labels, is taken by the question set's
own answers. First the model gets worse: another proxy in front of it sets the temperature to 2. What is drawn then
has little probability, so that the gate withholds it: no label tells of it, since hardly anything goes out, but
confidences move, and ``on_drift: abstain`` closes the route. Then, with the model as it was and the policy pushed
again, the app begins to put passages before its questions, and what they say is false. The model repeats them,
surer than ever: only labels tell, and ``on_alarm: tighten`` follows them. What the proxy asks for stays the same in
both: no fingerprint tells.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import cycle
from typing import TYPE_CHECKING, Literal, TypeVar

from gating import tuning
from gating.drift import kolmogorov_smirnov
from gating.grading import grade
from gating.types import GatingError
from proxy import records
from proxy.demo.asked import client_of
from proxy.demo.processes import metric, serving, wait_for
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.demo.setting import MAX_TOKENS
from proxy.exceptions import RunError
from proxy.offline import labelling
from proxy.offline.evaluation.contexts import MARK, under_conditions
from proxy.storage import Label, make_store, sealer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import openai

    from gating.drift import Shift
    from gating.tuning import Tuned
    from proxy.demo.questions import Question
    from proxy.storage import RiskState, Store

ROUTE = POLICY = "loop"
#: The small model's answers are a few words, wrong where one of them is: of 300 labelled ones, drawn 30 times from 694,
#: 29 certified a risk of .5 by their weakest token with the shares of ``Promise`` (23 with the usual ones).
SCORER = "min_logprob"
#: Answers between two looks at the labels, under a policy.
BATCH = 10
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many requests each part has (the last at most), what is promised, and on how many processes."""

    observe: int = 300
    enforce: int = 100
    worse: int = 100
    #: Of these the ones are asked that have a passage.
    misled: int = 300
    target_risk: float = 0.5
    delta: float = 0.1
    processes: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Promise(tuning.TargetRisk):
    """A target risk, with hardly any label kept for a test: what is asked under the policy is one."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The splits."""
        return {"fit": 0.25, "pilot": 0.1, "certify": 0.55, "test": 0.1}


@dataclass(slots=True)
class Row:
    """One part of the loop, counted by what the client got."""

    part: str
    asked: int = 0
    answered: int = 0
    wrong: int = 0
    #: At its end, as every process says it.
    threshold: list[float | None] = field(default_factory=list)
    certified: bool = False
    #: What has revoked the certificate.
    alarm: Literal["audit", "feedback", "drift"] | None = None
    #: Labels of the audit sample that count towards the alarm, and wrong ones among them.
    labels: int = 0
    errors: int = 0
    #: When it began, and how far its confidences lie from those of the part in order (KS, with its p-value).
    began: float = field(default_factory=time.time)
    shift: Shift | None = None


def misled(questions: Sequence[Question], seed: int) -> list[Question]:
    """Those that have a passage, each after its own, in which another's answer stands for the right one."""
    own = [
        records.Question(**one.to_dict(), context=[one.passage])
        for one in questions
        if one.passage is not None
    ]
    made = under_conditions(own, ("counterfactual",), seed)
    text = {one.id.removesuffix(f"{MARK}counterfactual"): one.context for one in made}
    return [
        replace(one, question=f"{passages[0]}\n\n{one.question}")
        for one in questions
        if (passages := text.get(one.id))
    ]


class Loop:
    """Where it runs, and what it has seen."""

    def __init__(self, folder: Path, model_url: str, model: str, store_url: str, plan: Plan) -> None:
        self.plan = plan
        self.key = secrets.token_urlsafe(16)
        self.urls: list[str] = []
        self.rows: list[Row] = []
        self._folder = folder
        self._model_url = model_url
        self._model = model
        self._store_url = store_url
        self._answers: dict[str, Question] = {}
        self._certified = False
        self._changes = 0
        self._pushed = 0
        #: The first row under the version in force.
        self._first = 0

    # What is in force

    def write(self, *, base_url: str, enforce: bool) -> None:
        """The configuration; running processes take it up by themselves."""
        gate = {"mode": "enforce", "policy": POLICY} if enforce else {"scorers": [SCORER]}
        tree = {
            "server": {"store": self._store_url, "log_text": True},
            "upstreams": {"model": {"base_url": base_url, "timeout_s": 120}},
            "routes": [
                {
                    "name": ROUTE, "models": [ROUTE], "upstream": "model", "model": self._model,
                    "params": {"temperature": 0}, "audit": 1.0, "on_alarm": "tighten",
                    "on_drift": "abstain", **gate,
                }
            ],
        }  # fmt: skip
        beside = self._folder / "new.yaml"
        beside.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
        beside.replace(self._folder / "idk.yaml")
        if self.urls:
            self._changes += 1
            wait_for(self._reloaded, "a changed idk.yaml to be in force")

    def _reloaded(self) -> bool:
        done = [metric(url, "idk_config_reloads_total", outcome="applied") or 0 for url in self.urls]
        return min(done) >= self._changes

    def worse(self) -> Path:
        """The configuration of the proxy that spoils the sampling."""
        tree = {
            "server": {"store": "memory://"},
            "upstreams": {"model": {"base_url": self._model_url, "timeout_s": 120}},
            "routes": [
                {"name": "worse", "models": ["*"], "upstream": "model", "mode": "off",
                 "params": {"temperature": 2.0}}
            ],
        }  # fmt: skip
        path = self._folder / "worse.yaml"
        path.write_text(json.dumps(tree), encoding="utf-8")
        return path

    def start(self) -> Iterator[list[str]]:
        """Processes of the configuration, as a context manager's body."""
        environ = {**os.environ, "IDK_ADMIN_KEY": self.key}
        with serving(self._folder / "idk.yaml", environ, self.plan.processes) as self.urls:
            yield self.urls

    # The steps

    def ask(self, row: Row, questions: Sequence[Question], told: Callable[[], None]) -> None:
        """Ask through the processes in turn, as an app would, and count."""
        self._answers |= {question.question: question for question in questions}
        clients = [client_of(f"{url}/v1") for url in self.urls]
        turns = zip(questions, cycle(clients), strict=False)
        with ThreadPoolExecutor(4) as pool:
            for decision, label, certified in pool.map(lambda turn: _ask(*turn), turns):
                row.asked += 1
                if decision == "answer":
                    row.answered += label != "abstained"
                    row.wrong += label == "incorrect"
                self._certified = certified
                told()
        for client in clients:
            client.close()

    def label(self) -> int:
        """Label all of the sample by the set's answers, as a person would; how many were new."""
        asked = sum(row.asked for row in self.rows)

        async def give(store: Store) -> int:
            end = time.monotonic() + 20
            while len(found := await store.audit(ROUTE, limit=100_000)) < asked:
                if time.monotonic() > end:
                    raise RunError(f"only {len(found)} of {asked} answers came into the audit sample")
                await asyncio.sleep(0.1)
            new = [item for item, label in found if label is None]
            for item in new:
                question = self._answers[item.answer.question or ""]
                said = grade(item.answer.answer, question.answers)
                await store.add_label(
                    Label(
                        id=item.decision.id, choice=item.decision.choice, label=said, source="audit",
                        at=time.time(), who="the question set",
                    )
                )  # fmt: skip
            return len(new)

        return self.with_store(give)

    def tune(self) -> Tuned:
        """From the labelled sample, as `idk label export` and `idk tune` do it; raises RunError."""
        path = self._folder / "records.jsonl"
        found = self.with_store(lambda store: labelling.export(store, ROUTE))
        records.write_lines(path, map(records.encoded, found.records))
        graded, fingerprint = records.graded(path)
        provenance = tuning.Provenance(
            name=POLICY, fingerprint=fingerprint, created=datetime.now(UTC).isoformat(timespec="seconds")
        )
        goal = Promise(self.plan.target_risk, self.plan.delta)
        try:
            tuned = tuning.tune(graded, goal, scorers=[SCORER], seed=self.plan.seed, provenance=provenance)
        except GatingError as exc:
            raise RunError(f"demo-loop: {exc}") from exc
        if tuned.policy.certificate is None:
            raise RunError(
                f"demo-loop: these labels certify no risk of {self.plan.target_risk:g}; give a higher --target-risk, "
                "or more --observe"
            )
        return tuned

    def push(self, tuned: Tuned) -> None:
        """Put the policy in force, as one more version, which routes that name it follow."""
        self.with_store(
            lambda store: store.push_policy(POLICY, tuned.policy.to_dict(), "demo-loop", time.time())
        )
        self._first, self._pushed = len(self.rows), self._pushed + 1

    def until_in_force(self) -> None:
        """Wait until every process judges by the version that was pushed last, and watches it."""
        name = f"{POLICY}@{self._pushed}"

        def followed() -> bool:
            state = self.risk()
            shown = [metric(url, "idk_policy_info", route=ROUTE, policy=name) for url in self.urls]
            return state is not None and state.policy == name and all(shown)

        wait_for(followed, f"{name} to be in force")

    def risk(self) -> RiskState | None:
        """What the watch says once it has seen the labels that are there."""
        return self.with_store(lambda store: store.risk(ROUTE))

    def close(self, row: Row) -> None:
        """Note what is in force at the end of a part."""
        state = self.risk()
        row.certified = self._certified
        row.threshold = [metric(url, "idk_threshold", route=ROUTE) for url in self.urls]
        if state is not None:
            row.alarm = state.cause or ("drift" if state.drifted else None)
            row.labels, row.errors = state.labels, state.errors

    def compare(self, row: Row, with_: Row) -> None:
        """Note how far the confidences of a part have moved, with no label."""

        async def both(store: Store) -> tuple[list[float], list[float]]:
            then = await store.confidences(ROUTE, with_.began, with_.asked, oldest=True)
            return then, await store.confidences(ROUTE, row.began, row.asked, oldest=True)

        row.shift = kolmogorov_smirnov(*self.with_store(both))

    def until_seen(self) -> None:
        """Wait until the watch has counted every label of a served answer, and every process has what follows."""
        served = sum(row.answered for row in self.rows[self._first :])

        def seen() -> bool:
            state = self.risk()
            return state is not None and state.labels >= served and self._followed(state)

        wait_for(seen, "the watch to see the labels", 30.0)

    def _followed(self, state: RiskState) -> bool:
        """Whether the threshold of an alarm is in force everywhere."""
        if not state.alarm or state.threshold is None:
            return True
        wanted = f"{state.threshold:.6f}"
        shown = [metric(url, "idk_threshold", route=ROUTE) for url in self.urls]
        return all(each is not None and f"{each:.6f}" == wanted for each in shown)

    def until_looked(self) -> None:
        """Wait until confidences have been compared once more, which is done once a minute."""
        now = time.time()

        def looked() -> bool:
            state = self.risk()
            return state is not None and (state.drifted or state.looked >= now)

        wait_for(looked, "the confidences to be compared", 150.0)

    def with_store(self, call: Callable[[Store], Awaitable[Found]]) -> Found:
        """Run ``call`` on the store, as another process of the operator's would."""
        store = make_store(self._store_url, self._folder, sealer_of("IDK_AUDIT_KEY", os.environ))

        async def run() -> Found:
            try:
                await store.open()
                return await call(store)
            finally:
                await store.aclose()

        return asyncio.run(run())


def _ask(question: Question, client: openai.OpenAI) -> tuple[str, str, bool]:
    """The decision, the label of what the client got, and whether it was called certified."""
    from openai import OpenAIError

    try:
        completion = client.chat.completions.create(
            model=ROUTE,
            messages=[
                {"role": "system", "content": SYSTEM_PROMPT},
                {"role": "user", "content": question.question},
            ],
            max_tokens=MAX_TOKENS,
        )
    except OpenAIError as exc:
        raise RunError(f"demo-loop: {question.question!r} was not answered: {exc}") from exc
    said = (completion.model_extra or {})["idk"]
    choice = said["choices"][0]
    answer = completion.choices[0].message.content or ""
    return str(choice["decision"]), grade(answer, question.answers), bool(said["certified"])
