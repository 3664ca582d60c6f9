"""What a gatherer is, and how several of them work beside one answer.

The evidence that stands in the answer itself (its logprobs) is there with it. All other evidence is gathered:
a route has a gatherer for each kind that its gate needs. Those that need not know the answer begin with it.
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
from proxy.exceptions import HttpError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Choice, Completion

    #: Fields of ``Evidence`` of one choice.
    Fields = Mapping[str, Any]

logger = logging.getLogger("idk")


class OverBudget(Exception):
    """The route's budget of further calls does not let the evidence be gathered; says which part of it."""


class Answer:
    """The answer as a gatherer sees it: it comes while the gatherer is at work."""

    def __init__(self) -> None:
        self._came = asyncio.Event()
        self._completion: Completion | None = None

    def has_come(self, completion: Completion) -> None:
        """Let everyone go on who waits for it."""
        self._completion = completion
        self._came.set()

    @property
    def now(self) -> Completion | None:
        """It, or None where it has not come."""
        return self._completion

    async def get(self) -> Completion:
        """It, waited for."""
        await self._came.wait()
        if self._completion is None:
            raise AssertionError("an answer came without a completion")
        return self._completion


class Gatherer(Protocol):
    """Brings one kind of evidence; one object for a route, shared by its requests."""

    @property
    def early(self) -> bool:
        """Whether it begins with the answer; else it reads it, and the evidence of those that began so."""
        ...

    async def __call__(self, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
        """Fields of the evidence of each choice (n,), in the completion's order.

        Calls are counted in ``exchange.spent``. Raises HttpError where an upstream fails, OverBudget.
        """
        ...


class Gathering:
    """``async with``: one request's gatherers at work. Whatever is under way at its end is cancelled."""

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
        """The completion with the evidence that was gathered; what could not be had is missing in it."""
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
    """What it brings, or nothing: evidence that could not be had is unmeasured, and fails no request."""
    try:
        return await gatherer(exchange, answer)
    except OverBudget as exc:
        exchange.spent.over_budget = str(exc)
    except HttpError as exc:
        logger.warning("%s: %s: %s", exchange.route.name, type(gatherer).__name__, exc)
        if isinstance(exc, UpstreamError):
            exchange.route.upstream_metrics.failed(exc.kind)
    return ()


def is_judged(choice: Choice) -> bool:
    """Whether evidence can matter: not of a tool call, nor where the model itself declines."""
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


class NoGathering:
    """The same for a route that gathers nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is under way."""

    async def finish(self, completion: Completion) -> Completion:
        """It, as it is."""
        return completion


NO_GATHERING = NoGathering()
