"""Asking of one question through a route by the code that serves requests, and grading of the answer."""

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
from proxy.requests.evidence.embeddings import AnswerVectors
from proxy.requests.evidence.gathering import is_judged
from proxy.requests.evidence.meanings import Meanings
from proxy.requests.evidence.p_true import PTrue
from proxy.requests.evidence.samples import draw
from proxy.requests.evidence.verbalised import Verbalised
from proxy.requests.exchange import Exchange
from proxy.requests.matching import made_with
from proxy.requests.prompt.context import SEPARATOR, TEMPLATE, filled
from proxy.requests.upstream_call import ask_upstream, read
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Choice, Completion
from proxy.surfaces.json_bytes import SENTINEL

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from gating.grading import Label
    from proxy.offline.evaluation.judge import Judge
    from proxy.records import Question
    from proxy.requests.evidence import Gatherer
    from proxy.requests.route import Route
    from proxy.server.bodies import Bodies

    #: A labelled answer, and the label by the rules where a judge graded it.
    Graded = tuple[Observed, Label | None, dict[str, Any]]

#: The scorer that needs the most evidence of a single answer, so that all others can be computed too.
_WIDEST = "topk_entropy"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(slots=True)
class ClosedBook:
    """Closed-book answers by question: one call for each question, shared by all conditions that need it."""

    _calls: dict[str, asyncio.Task[Graded]] = field(default_factory=dict)

    async def get(self, name: str, ask: Callable[[], Coroutine[Any, Any, Graded]]) -> Graded:
        """Return the answer, from the running call if there is one; a failed call is made again next time."""
        task = self._calls.get(name)
        if task is None:
            task = self._calls[name] = asyncio.create_task(ask())
        try:
            return await asyncio.shield(task)
        except HttpError:
            self._calls.pop(name, None)
            raise


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks questions of one route's upstream.

    ``params`` are further fields of every request (temperature, max_tokens …); ``top_logprobs`` alternatives of each
    token are recorded, and ``samples`` further answers drawn; ``bodies`` reads the answers. A ``judge`` grades in
    place of the rules.
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
    #: The route's gatherers: those of the model's own confidence and of compared samples are used.
    gatherers: tuple[Gatherer, ...] = ()
    #: The closed-book answers, shared by all conditions of a question.
    closed: ClosedBook = field(default_factory=ClosedBook)

    @property
    def made_with(self) -> dict[str, Any]:
        """The fingerprint of a plain question's answer, as the route computes it for a live request."""
        exchange = self._exchange([{"role": "user", "content": ""}], {})
        return made_with(self._sampling_route, exchange.request, exchange.surface.name)

    async def record(self, question: Question) -> Record:
        """Ask a question and grade its answer; raises HttpError where the upstream fails."""
        messages = prompt(question, self.system, self.route.config.rag.template)
        asked = question.question or [turn.content for turn in question.messages or ()][-1]
        closed_book: Observed | None = None
        if question.condition is not None:
            bare = await self._closed_book(question, asked)
            closed_book = msgspec.structs.replace(bare[0], top_logprobs=None)
        if question.condition is not None and not question.context:
            observed, matched, fingerprint = bare
        else:
            observed, matched, fingerprint = await self._observed(question, messages, asked)
        samples = await self._draw(messages) if self.samples else None
        related = await self._relate(messages, observed.answer, samples) if samples else {}
        return Record(
            id=question.id,
            group=question.group or question.id,
            question=asked,
            answer=observed.answer,
            token_logprobs=observed.token_logprobs,
            top_logprobs=observed.top_logprobs,
            samples=samples,
            embeddings=reduced_embeddings(related["embeddings"]) if "embeddings" in related else None,
            meanings=list(related["meanings"]) if "meanings" in related else None,
            features=observed.features,
            label=observed.label or "abstained",
            matched=matched,
            labelled_by="grader" if self.judge is None or matched is None else "judge",
            condition=question.condition,
            context=question.context if question.condition else None,
            open_book=msgspec.structs.replace(observed, top_logprobs=None)
            if question.condition and question.context
            else None,
            closed_book=closed_book,
            made_with=fingerprint,
        )

    async def _observed(
        self, question: Question, messages: Sequence[Mapping[str, str]], asked: str
    ) -> Graded:
        """Return the labelled answer with its fingerprint, and where a judge graded it, the label by the rules."""
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
            features=await self._self_assessment(exchange, completion) or None,
            label=judged or label,
        )
        fingerprint = made_with(
            self._sampling_route,
            exchange.request,
            exchange.surface.name,
            cut=choice.finish_reason == "length",
            answered_by=completion.model,
        )
        return observed, label if judged else None, fingerprint

    async def _self_assessment(self, exchange: Exchange, completion: Completion) -> dict[str, float]:
        """Ask the model about its first answer, where the route's scorers need that; return it as features."""
        answer = Answer()
        found: dict[str, float] = {}
        answer.has_come(msgspec.structs.replace(completion, choices=completion.choices[:1]))
        for gatherer in self.gatherers:
            if isinstance(gatherer, PTrue | Verbalised):
                (fields,) = await gatherer(exchange, answer)
                found |= {name: value for name, value in fields.items() if value is not None}
        return found

    async def _closed_book(self, question: Question, asked: str) -> Graded:
        """Return the answer without passages, which all conditions of a question share."""
        bare = msgspec.structs.replace(question, context=None)

        def ask() -> Coroutine[Any, Any, Graded]:
            return self._observed(bare, prompt(bare, self.system), asked)

        return await self.closed.get(question.id.partition(MARK)[0], ask)

    async def _draw(self, messages: Sequence[Mapping[str, str]]) -> list[str]:
        """Draw further answers by the code that serves requests."""
        return await draw(self._exchange(messages, {}), self.samples)

    async def _relate(
        self, messages: Sequence[Mapping[str, str]], answer: str, samples: Sequence[str]
    ) -> dict[str, Any]:
        """Return the embeddings and meanings of the answer and its samples, where the route's scorers read them."""
        choice = Choice(0, Evidence(answer, samples=samples))
        if not is_judged(choice):
            return {}
        given, found = Answer(), dict[str, Any]()
        given.has_come(Completion((choice,), None, None))
        for gatherer in self.gatherers:
            if isinstance(gatherer, AnswerVectors | Meanings):
                for fields in await gatherer(self._exchange(messages, {}), given):
                    found |= fields
        return found

    async def ask(
        self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]
    ) -> Sequence[Choice]:
        """Return the upstream's choices, at least one; raises HttpError."""
        _, completion = await self._complete(messages, more)
        return completion.choices

    async def _complete(
        self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]
    ) -> tuple[Exchange, Completion]:
        exchange = self._exchange(messages, more)
        ask, response = await ask_upstream(exchange)
        completion = await read(exchange, response, ask)
        if completion.choices[0].missing:
            raise UpstreamGarbage("the upstream's answer has no choices")
        return exchange, completion

    def _exchange(self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]) -> Exchange:
        surface = SURFACES["chat"]
        request = surface.parse(self._body(messages, more))
        request = self.route.prompted(surface, request)
        observing = replace(self._sampling_route, gate=_OBSERVE, policy=None, top_logprobs=self.top_logprobs)
        return Exchange(observing, surface, request, self.credentials, bodies=self.bodies)

    @property
    def _sampling_route(self) -> Route:
        """The route with this run's number of samples, and without the limits of a live request."""
        config = msgspec.structs.replace(self.route.config, samples=self.samples, budget=Budget())
        return replace(self.route, config=config)

    def _body(self, messages: Sequence[Mapping[str, str]], more: Mapping[str, float | int]) -> bytes:
        return msgspec.json.encode({"model": self.model, "messages": messages, **self.params, **more})


_OBSERVE = Gate(Uncalibrated(SCORERS[_WIDEST]))


def prompt(question: Question, system: str | None, template: str | None = None) -> list[dict[str, str]]:
    """Return the conversation of a question: its messages, or its passages, text and lettered choices.

    ``template`` places passages before the question as the route does (None: separated by blank lines). For a
    question that is given as messages, the passages are put into the last message.
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
