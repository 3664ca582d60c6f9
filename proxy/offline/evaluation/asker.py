"""One question through a route: asked by the code that serves, its evidence kept, its answer graded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from gating import SCORERS, Gate
from gating.gate import Uncalibrated
from gating.grading import grade
from gating.types import Evidence, Unmeasured
from proxy.config import Budget
from proxy.exceptions import HttpError, UpstreamGarbage
from proxy.offline.evaluation.contexts import MARK
from proxy.records import Observed, Record, reduced_embeddings
from proxy.requests.evidence import Answer
from proxy.requests.evidence.base import is_judged
from proxy.requests.evidence.embeddings import Embedded
from proxy.requests.evidence.meanings import Judged
from proxy.requests.evidence.p_true import AskedTrue
from proxy.requests.evidence.samples import draw
from proxy.requests.evidence.verbalised import AskedInWords
from proxy.requests.exchange import Exchange
from proxy.requests.prompt.context import SEPARATOR, TEMPLATE, filled
from proxy.requests.prompt.prompting import prompted
from proxy.requests.route import SAMPLING, fingerprint
from proxy.requests.upstream_call import ask_upstream, read
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Choice, Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from gating.grading import Label
    from proxy.offline.evaluation.judge import Judge
    from proxy.records import Question
    from proxy.requests.route import Route
    from proxy.server.bodies import Bodies

    #: An answer with its label, and what the rules say where a judge graded.
    Graded = tuple[Observed, Label | None]

#: The scorer that reads the most of an answer: what it needs, the others have too.
_WIDEST = "topk_entropy"
#: The least logprob that a record holds: JSON has no -inf, and vendors write this in its place.
SENTINEL = -9999.0
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(slots=True)
class ClosedBook:
    """Closed-book answers by question: who asks first pays, others that come meanwhile wait for the same call."""

    _under_way: dict[str, asyncio.Task[Graded]] = field(default_factory=dict)

    async def get(self, name: str, ask: Callable[[], Coroutine[Any, Any, Graded]]) -> Graded:
        """The answer; a call that failed is made again by the next who asks."""
        task = self._under_way.get(name)
        if task is None:
            task = self._under_way[name] = asyncio.create_task(ask())
        try:
            return await asyncio.shield(task)
        except HttpError:
            self._under_way.pop(name, None)
            raise


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one route's upstream. ``params`` are further fields of every request (temperature, max_tokens …).

    ``top_logprobs`` alternatives of each token are kept, ``samples`` further answers drawn; ``bodies`` reads
    the answers. A ``judge`` grades in the place of the rules.
    """

    route: Route
    model: str
    top_logprobs: int
    bodies: Bodies
    system: str | None = None
    params: Mapping[str, float | int] = field(default_factory=dict)
    samples: int = 0
    judge: Judge | None = None
    credentials: bytes | None = None
    #: The closed-book answers, each asked once however many conditions its question is asked under.
    closed: ClosedBook = field(default_factory=ClosedBook)

    @property
    def made_with(self) -> dict[str, Any]:
        """The fingerprint of every answer, as the route would take it of a live request."""
        sampling = {name: self.params[name] for name in SAMPLING if name in self.params}
        return fingerprint(self._drawing, self.model, sampling)

    async def record(self, question: Question) -> Record:
        """Ask, and grade; raises HttpError where the upstream fails."""
        messages = prompt(question, self.system, self.route.config.rag.template)
        asked = question.question or [turn.content for turn in question.messages or ()][-1]
        closed_book: Observed | None = None
        if question.condition is not None:
            bare = await self._without(question, asked)
            closed_book = msgspec.structs.replace(bare[0], top_logprobs=None)
        if question.condition is not None and not question.context:
            observed, matched = bare
        else:
            observed, matched = await self._observed(question, messages, asked)
        samples = await self._draw(messages) if self.samples else None
        compared = await self._compared(messages, observed.answer, samples) if samples else {}
        return Record(
            id=question.id,
            group=question.group or question.id,
            question=asked,
            answer=observed.answer,
            token_logprobs=observed.token_logprobs,
            top_logprobs=observed.top_logprobs,
            samples=samples,
            embeddings=reduced_embeddings(compared["embeddings"]) if "embeddings" in compared else None,
            meanings=list(compared["meanings"]) if "meanings" in compared else None,
            features=observed.features,
            label=observed.label or "abstained",
            matched=matched,
            condition=question.condition,
            context=question.context if question.condition else None,
            open_book=msgspec.structs.replace(observed, top_logprobs=None)
            if question.condition and question.context
            else None,
            closed_book=closed_book,
            made_with=self.made_with,
        )

    async def _observed(
        self, question: Question, messages: Sequence[Mapping[str, str]], asked: str
    ) -> Graded:
        """The answer and its grade, and where a judge graded, what the rules say."""
        exchange, completion = await self._complete(messages, {})
        choice = completion.choices[0]
        evidence = choice.evidence
        label: Label = "abstained"
        if not choice.refusal:
            label = grade(evidence.answer, question.answers, choices=question.choices)
        judged = await self.judge.grade(asked, question.answers, evidence.answer) if self.judge else None
        observed = Observed(
            answer=evidence.answer,
            token_logprobs=_token_logprobs(evidence),
            top_logprobs=_top_logprobs(evidence),
            features=await self._of_itself(exchange, completion) or None,
            label=judged or label,
        )
        return observed, label if judged else None

    async def _of_itself(self, exchange: Exchange, completion: Completion) -> dict[str, float]:
        """What the model says of its first answer, where the route's scorers read that, as features of a record."""
        answer = Answer()
        found: dict[str, float] = {}
        answer.has_come(msgspec.structs.replace(completion, choices=completion.choices[:1]))
        for gatherer in self.route.gatherers:
            if isinstance(gatherer, AskedTrue | AskedInWords):
                (fields,) = await gatherer(exchange, answer)
                found |= {name: value for name, value in fields.items() if value is not None}
        return found

    async def _without(self, question: Question, asked: str) -> Graded:
        """The answer without passages, which all conditions of a question share."""
        bare = msgspec.structs.replace(question, context=None)

        def ask() -> Coroutine[Any, Any, Graded]:
            return self._observed(bare, prompt(bare, self.system), asked)

        return await self.closed.get(question.id.partition(MARK)[0], ask)

    async def _draw(self, messages: Sequence[Mapping[str, str]]) -> list[str]:
        """Further answers, by the code that serves."""
        return await draw(self._exchange(messages, {}), self.samples)

    async def _compared(
        self, messages: Sequence[Mapping[str, str]], answer: str, samples: Sequence[str]
    ) -> dict[str, Any]:
        """What the route's scorers read of the answer beside its samples: their vectors, and what they mean."""
        choice = Choice(0, Evidence(answer, samples=samples))
        if not is_judged(choice):
            return {}
        given, found = Answer(), dict[str, Any]()
        given.has_come(Completion((choice,), None, None))
        for gatherer in self.route.gatherers:
            if isinstance(gatherer, Embedded | Judged):
                for fields in await gatherer(self._exchange(messages, {}), given):
                    found |= fields
        return found

    async def ask(
        self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]
    ) -> Sequence[Choice]:
        """The upstream's choices, at least one, by the code that serves; raises HttpError."""
        _, completion = await self._complete(messages, more)
        return completion.choices

    async def _complete(
        self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]
    ) -> tuple[Exchange, Completion]:
        exchange = self._exchange(messages, more)
        ask, response = await ask_upstream(exchange)
        completion = await read(exchange, response, ask)
        if not completion.choices:
            raise UpstreamGarbage("the upstream gave no choice")
        return exchange, completion

    def _exchange(self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]) -> Exchange:
        surface = SURFACES["chat"]
        request = surface.parse(self._body(messages, more))
        request = prompted(self.route, surface, request)
        observing = replace(
            self._drawing, gate=_OBSERVE, policy=None, top_logprobs=self.top_logprobs, remedies=()
        )
        return Exchange(observing, surface, request, self.credentials, bodies=self.bodies)

    @property
    def _drawing(self) -> Route:
        """The route with as many samples as are drawn, whatever a live request may cost."""
        config = msgspec.structs.replace(self.route.config, samples=self.samples, budget=Budget())
        return replace(self.route, config=config)

    def _body(self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]) -> bytes:
        return msgspec.json.encode({"model": self.model, "messages": messages, **self.params, **more})


_OBSERVE = Gate(Uncalibrated(SCORERS[_WIDEST]))


def prompt(question: Question, system: str | None, template: str | None = None) -> list[dict[str, str]]:
    """The conversation: its own messages, or the passages, the question and the lettered choices.

    ``template`` puts passages before a question as the route does (None: blank lines between). Before a
    question that is given as messages they go into the last of them.
    """
    before = [] if system is None else [{"role": "system", "content": system}]
    if question.messages is not None:
        turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        if question.context:
            turns[-1] = turns[-1] | {"content": _with_passages(question, turns[-1]["content"], template)}
        return before + turns
    options = [
        f"{letter}. {choice}" for letter, choice in zip(_LETTERS, question.choices or (), strict=False)
    ]
    asked = "\n".join([question.question or "", *options])
    return [*before, {"role": "user", "content": _with_passages(question, asked, template)}]


def _with_passages(question: Question, asked: str, template: str | None) -> str:
    if not question.context:
        return asked
    return filled(TEMPLATE if template is None else template, SEPARATOR.join(question.context), asked)


def _token_logprobs(evidence: Evidence) -> list[float] | None:
    logprobs = evidence.token_logprobs
    if logprobs is None or isinstance(logprobs, Unmeasured):
        return None
    return [max(logprob, SENTINEL) for logprob in logprobs]


def _top_logprobs(evidence: Evidence) -> list[list[float]] | None:
    if evidence.top_logprobs is None or isinstance(evidence.token_logprobs, Unmeasured):
        return None
    return [[max(logprob, SENTINEL) for logprob in place] for place in evidence.top_logprobs]
