"""Gathering: how several gatherers bring evidence concurrently with one answer.

An answer brings its logprobs itself. All other evidence is gathered: a route has a gatherer for each kind that its gate
needs. Gatherers that do not need to know the answer start together with the request for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from gating.answers import is_abstention
from proxy.exceptions import HttpError, UpstreamError, failure_summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Choice, Completion

    #: Fields of the ``Evidence`` of one choice.
    Fields = Mapping[str, Any]

logger = logging.getLogger("idk")


class OverBudget(Exception):
    """Raised if the route's budget does not allow the calls that evidence needs; the text names the limit."""


class Answer:
    """The answer for which a gatherer can wait, since it may arrive while the gatherer works."""

    def __init__(self) -> None:
        self._came = asyncio.Event()
        self._completion: Completion | None = None

    def has_come(self, completion: Completion) -> None:
        """Set the answer, and wake the gatherers that wait for it."""
        self._completion = completion
        self._came.set()

    @property
    def now(self) -> Completion | None:
        """The answer, or None if it has not arrived."""
        return self._completion

    async def get(self) -> Completion:
        """Wait for the answer and return it."""
        await self._came.wait()
        if self._completion is None:
            raise AssertionError("an answer came without a completion")
        return self._completion


class Gatherer(Protocol):
    """Brings one kind of evidence. One object serves all requests of a route."""

    @property
    def early(self) -> bool:
        """Whether the gatherer starts with the request. Others start later, with the evidence of the early ones."""
        ...

    async def __call__(self, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
        """Return fields of the evidence of each choice (n,), in the completion's order.

        Calls are counted in ``exchange.spent``. Raises HttpError where an upstream fails, OverBudget.
        """
        ...


class Gathering:
    """The running gatherers of one request, as an async context manager that cancels them at its end."""

    def __init__(self, gatherers: Sequence[Gatherer], exchange: Exchange) -> None:
        self._gatherers = gatherers
        self._exchange = exchange
        self._answer = Answer()
        self._tasks: list[asyncio.Task[Sequence[Fields]]] = []

    async def __aenter__(self) -> Self:
        self._early = [self._begin(each, self._answer) for each in self._gatherers if each.early]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def finish(self, completion: Completion) -> Completion:
        """Return the completion with the gathered evidence; evidence that could not be gathered is missing."""
        if not any(map(is_judged, completion.choices)):
            return completion
        exchange = self._exchange
        timeout_s = exchange.route.config.budget.timeout_s
        began = perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                self._answer.has_come(completion)
                completion = _enriched(completion, await asyncio.gather(*self._early))
                answer = Answer()
                answer.has_come(completion)
                late = [self._begin(each, answer) for each in self._gatherers if not each.early]
                completion = _enriched(completion, await asyncio.gather(*late))
        except TimeoutError:
            exchange.spent.over_budget = f"timeout_s: {timeout_s:g} s were not enough"
        exchange.spent.waited += perf_counter() - began
        return completion

    def _begin(self, gatherer: Gatherer, answer: Answer) -> asyncio.Task[Sequence[Fields]]:
        task = asyncio.get_running_loop().create_task(_safely(gatherer, self._exchange, answer))
        self._tasks.append(task)
        return task


async def _safely(gatherer: Gatherer, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
    """Run a gatherer; if it fails, return nothing: missing evidence is unmeasured and fails no request."""
    try:
        return await gatherer(exchange, answer)
    except OverBudget as exc:
        exchange.spent.over_budget = str(exc)
    except HttpError as exc:
        logger.warning("%s: %s: %s", exchange.route.name, type(gatherer).__name__, failure_summary(exc))
        if isinstance(exc, UpstreamError):
            exchange.route.upstream_metrics.failed(exc.kind)
    return ()


def is_judged(choice: Choice) -> bool:
    """Return whether evidence matters for a choice: not for tool calls, refusals of the model and unreadable texts."""
    if choice.unreadable is not None:
        return False
    return not (choice.tool_call or choice.refusal or is_abstention(choice.evidence.answer))


def _enriched(completion: Completion, found: Sequence[Sequence[Fields]]) -> Completion:
    brought = [fields for fields in found if fields]
    if not brought:
        return completion
    choices = tuple(
        msgspec.structs.replace(choice, evidence=replace(choice.evidence, **ChainMap(*map(dict, fields))))
        for choice, *fields in zip(completion.choices, *brought, strict=True)
    )
    return msgspec.structs.replace(completion, choices=choices)
