"""The demonstration of the feedback loop: observe, label the audit sample, tune, push, enforce, and raise alarms.

Real ``idk serve`` processes ask an embedded model, and the accepted answers of the question set take the place of a
person who labels. Then two things go wrong, one after the other.

First the model gets worse: another proxy in front of it sets the temperature to 2. The sampled answers have a low
probability, so the gate withholds them. Hardly any answer is served, so labels show nothing; but the confidences
drift, and ``on_drift: abstain`` closes the route.

Then, with the original model and the policy pushed again, the app adds passages with false statements to its
questions. The model repeats them with more confidence than before, so only labels show the errors, and
``on_alarm: tighten`` raises the threshold. In both cases the proxy's requests do not change, so no fingerprint does.
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
from gating.grading import decided, grade
from gating.types import GatingError
from proxy import records
from proxy.demo.client import client_of
from proxy.demo.demo_proxy import MAX_TOKENS
from proxy.demo.processes import metric, running_servers, wait_for
from proxy.demo.questions import SYSTEM_PROMPT
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
#: The answers are a few words long, and one wrong word makes them wrong. In 30 draws of 300 labels from 694, the least
#: likely token certified a risk of .5 in 29, with the shares of ``LoopGoal`` (in 23 with the default shares).
SCORER = "min_logprob"
#: Number of answers between two checks of the labels, under a policy.
BATCH = 10
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """The number of requests in each phase, the target risk, and the number of server processes."""

    observe: int = 300
    enforce: int = 100
    worse: int = 100
    #: At most this many; only questions with a passage are asked.
    misled: int = 300
    target_risk: float = 0.5
    delta: float = 0.1
    processes: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LoopGoal(tuning.TargetRisk):
    """A target risk that keeps few labels for a test, since the requests under the policy test it."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The sizes of the splits."""
        return {"fit": 0.25, "pilot": 0.1, "certify": 0.55, "test": 0.1}


@dataclass(slots=True)
class Phase:
    """The counts of one phase, by the answers that the client received."""

    part: str
    asked: int = 0
    answered: int = 0
    wrong: int = 0
    #: The threshold at the end of the phase, as each process reports it.
    threshold: list[float | None] = field(default_factory=list)
    certified: bool = False
    #: The cause that revoked the certificate.
    alarm: Literal["audit", "feedback", "drift"] | None = None
    #: Labels of the audit sample that count towards the alarm, and wrong ones among them.
    labels: int = 0
    errors: int = 0
    #: Start of the phase, and the distance of its confidences from those of the enforced phase (KS, with its p-value).
    began: float = field(default_factory=time.time)
    shift: Shift | None = None


def with_false_passages(questions: Sequence[Question], seed: int) -> list[Question]:
    """Return the questions that have a passage, each after its passage with the answer replaced by a false one."""
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
    """The servers, the store and the counts of the loop."""

    def __init__(self, folder: Path, model_url: str, model: str, store_url: str, plan: LoopPlan) -> None:
        self.plan = plan
        self.key = secrets.token_urlsafe(16)
        self.urls: list[str] = []
        self.phases: list[Phase] = []
        self._folder = folder
        self._model_url = model_url
        self._model = model
        self._store_url = store_url
        self._answers: dict[str, Question] = {}
        self._certified = False
        self._changes = 0
        self._pushed = 0
        #: Index of the first phase under the version in force.
        self._first = 0

    # Configuration and servers

    def write(self, *, base_url: str, enforce: bool) -> None:
        """Write the configuration and wait until running servers have reloaded it."""
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
        """Write the configuration of the proxy that makes the model worse, and return its path."""
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
        """Run the servers; for use as a context manager."""
        environ = {**os.environ, "IDK_ADMIN_KEY": self.key}
        with running_servers(self._folder / "idk.yaml", environ, self.plan.processes) as self.urls:
            yield self.urls

    # The steps

    def ask(self, phase: Phase, questions: Sequence[Question], on_answer: Callable[[], None]) -> None:
        """Ask the questions through the servers in turn, as an app would, and count the answers."""
        self._answers |= {question.question: question for question in questions}
        clients = [client_of(f"{url}/v1") for url in self.urls]
        turns = zip(questions, cycle(clients), strict=False)
        with ThreadPoolExecutor(4) as pool:
            for decision, label, certified in pool.map(lambda turn: _ask(*turn), turns):
                phase.asked += 1
                if decision == "answer":
                    phase.answered += label != "abstained"
                    phase.wrong += label == "incorrect"
                self._certified = certified
                on_answer()
        for client in clients:
            client.close()

    def label(self) -> int:
        """Label the audit sample with the accepted answers; return the number of new labels."""
        asked = sum(phase.asked for phase in self.phases)

        async def give(store: Store) -> int:
            end = time.monotonic() + 20
            while len(found := await store.audit(ROUTE, limit=100_000)) < asked:
                if time.monotonic() > end:
                    raise RunError(f"only {len(found)} of {asked} answers are in the audit sample")
                await asyncio.sleep(0.1)
            new = [item for item, label in found if label is None]
            for item in new:
                question = self._answers[item.answer.question or ""]
                label = decided(grade(item.answer.answer, question.answers))
                await store.add_label(
                    Label(
                        id=item.decision.id, choice=item.decision.choice, label=label, source="audit",
                        at=time.time(), who="the question set",
                    )
                )  # fmt: skip
            return len(new)

        return self.with_store(give)

    def tune(self) -> Tuned:
        """Tune from the labelled sample, as `idk label export` and `idk tune` do; raise RunError."""
        path = self._folder / "records.jsonl"
        found = self.with_store(lambda store: labelling.export(store, ROUTE))
        records.write_lines(path, map(records.encoded, found.records))
        graded, fingerprint = records.graded(path)
        provenance = tuning.Provenance(
            name=POLICY, fingerprint=fingerprint, created=datetime.now(UTC).isoformat(timespec="seconds")
        )
        goal = LoopGoal(self.plan.target_risk, self.plan.delta)
        try:
            tuned = tuning.tune(graded, goal, scorers=[SCORER], seed=self.plan.seed, provenance=provenance)
        except GatingError as exc:
            raise RunError(f"demo-loop: {exc}") from exc
        if tuned.policy.certificate is None:
            raise RunError(
                f"demo-loop: these labels certify no risk of {self.plan.target_risk:g}; use a higher --target-risk "
                "or a larger --observe"
            )
        return tuned

    def push(self, tuned: Tuned) -> None:
        """Push the policy as a new version, which the route follows."""
        self.with_store(
            lambda store: store.push_policy(POLICY, tuned.policy.to_dict(), "demo-loop", time.time())
        )
        self._first, self._pushed = len(self.phases), self._pushed + 1

    def until_in_force(self) -> None:
        """Wait until every server uses the version that was pushed last, and the risk watch follows it."""
        name = f"{POLICY}@{self._pushed}"

        def followed() -> bool:
            state = self.risk()
            shown = [metric(url, "idk_policy_info", route=ROUTE, policy=name) for url in self.urls]
            return state is not None and state.policy == name and all(shown)

        wait_for(followed, f"{name} to be in force")

    def risk(self) -> RiskState | None:
        """Return the state of the risk watch."""
        return self.with_store(lambda store: store.risk(ROUTE))

    def close(self, phase: Phase) -> None:
        """Record the thresholds and the risk state at the end of a phase."""
        state = self.risk()
        phase.certified = self._certified
        phase.threshold = [metric(url, "idk_threshold", route=ROUTE) for url in self.urls]
        if state is not None:
            phase.alarm = state.cause or ("drift" if state.drifted else None)
            phase.labels, phase.errors = state.labels, state.errors

    def compare(self, phase: Phase, with_: Phase) -> None:
        """Record the distance between the confidences of two phases, which needs no labels."""

        async def both(store: Store) -> tuple[list[float], list[float]]:
            then = await store.confidences(ROUTE, with_.began, with_.asked, oldest=True)
            return then, await store.confidences(ROUTE, phase.began, phase.asked, oldest=True)

        phase.shift = kolmogorov_smirnov(*self.with_store(both))

    def until_seen(self) -> None:
        """Wait until the risk watch has counted every label of a served answer, and every server follows its state."""
        served = sum(phase.answered for phase in self.phases[self._first :])

        def seen() -> bool:
            state = self.risk()
            return state is not None and state.labels >= served and self._followed(state)

        wait_for(seen, "the risk watch to count the labels", 30.0)

    def _followed(self, state: RiskState) -> bool:
        """Return whether every server uses the threshold of an alarm."""
        if not state.alarm or state.threshold is None:
            return True
        wanted = f"{state.threshold:.6f}"
        shown = [metric(url, "idk_threshold", route=ROUTE) for url in self.urls]
        return all(each is not None and f"{each:.6f}" == wanted for each in shown)

    def until_looked(self) -> None:
        """Wait until the confidences have been compared again, which happens once a minute."""
        now = time.time()

        def looked() -> bool:
            state = self.risk()
            return state is not None and (state.drifted or state.looked >= now)

        wait_for(looked, "the confidences to be compared", 150.0)

    def with_store(self, call: Callable[[Store], Awaitable[Found]]) -> Found:
        """Run ``call`` on the store, as a separate process of the operator would."""
        store = make_store(self._store_url, self._folder, sealer_of("IDK_AUDIT_KEY", os.environ))

        async def run() -> Found:
            try:
                await store.open()
                return await call(store)
            finally:
                await store.aclose()

        return asyncio.run(run())


def _ask(question: Question, client: openai.OpenAI) -> tuple[str, str, bool]:
    """Ask a question; return the decision, the label of the received answer, and whether it was certified."""
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
    verdict = (completion.model_extra or {})["idk"]
    choice = verdict["choices"][0]
    answer = completion.choices[0].message.content or ""
    return str(choice["decision"]), grade(answer, question.answers), bool(verdict["certified"])
