"""Further samples of the answer: drawn concurrently with it, or after it if they can change the verdict.

The choices of a request are answers to one prompt, so all of them are compared with the same k samples.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from gating.sampled import SILENT, fewest, is_open
from proxy.config import Budget
from proxy.exceptions import HttpError, UpstreamError, UpstreamGarbage, UpstreamStatus, failure_summary
from proxy.requests.evidence.budget import Slots, tokens_left
from proxy.requests.evidence.gathering import Answer, OverBudget, is_judged
from proxy.requests.matching import request_for_samples
from proxy.requests.upstream_call import further
from proxy.surfaces.contract import Ask
from proxy.upstreams.abilities import is_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config import Route as RouteConfig
    from proxy.requests.evidence.gathering import Fields
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Choice, Completion

logger = logging.getLogger("idk")

#: Every server takes seeds of a signed 32-bit integer.
_SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Samples:
    """Draws ``config.samples`` answers at ``config.sampling``; see ``Gatherer``."""

    config: RouteConfig
    slots: Slots
    early: bool = True

    async def __call__(self, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
        """Return the samples of each choice: fewer if more cannot change the verdict, or if calls fail."""
        if exchange.request.prompts > 1:
            return ()  # it is not known which choice answers which prompt
        if self.config.sampling.temperature == 0.0:
            return ()  # all samples would be equal, whatever the model knows
        request = request_for_samples(exchange.route, exchange.match, exchange.request, exchange.surface.name)
        sampled = msgspec.structs.replace(exchange, request=request)
        drawing = Drawing(sampled, answer, self.config, self.slots)
        await drawing.run()
        completion = await answer.get()
        return [{"samples": tuple(drawing.samples)} for _ in completion.choices]


async def draw(exchange: Exchange, k: int) -> list[str]:
    """Draw ``k`` samples of a request at its route's sampling for records, without asking the gate.

    Raises HttpError where a call fails.
    """
    config = msgspec.structs.replace(
        exchange.route.config,
        samples=k,
        sampling=msgspec.structs.replace(exchange.route.config.sampling, wait="none"),
        budget=Budget(samples=k),
    )
    drawing = Drawing(exchange, Answer(), config, Slots(k))
    await drawing.run()
    if len(drawing.samples) < k:
        raise drawing.error or UpstreamGarbage(f"the upstream gave {len(drawing.samples)} of {k} samples")
    return drawing.samples


@dataclass(slots=True)
class Drawing:
    """The samples of one request while they are drawn."""

    exchange: Exchange
    answer: Answer
    config: RouteConfig
    slots: Slots
    samples: list[str] = field(default_factory=list)
    #: The call for several samples that the upstream refused or ignored; further calls ask for one sample each.
    refused_n: Ask | None = None
    #: Whether a call brought nothing; then no further samples are drawn.
    failed: bool = False
    #: The error of a failed call.
    error: HttpError | None = None

    @property
    def most(self) -> int:
        """The most samples that may be drawn."""
        return min(self.config.samples, self.config.budget.samples)

    async def run(self) -> None:
        """Draw until no more are wanted, all are there, a call fails, or the budget ends."""
        if self.config.sampling.wait != "none" or self.config.budget.tokens is not None:
            await self.answer.get()
        try:
            while len(self.samples) < self.most and not self.failed and self.are_wanted():
                await self._draw(self._asks(self._batch()))
        except OverBudget as exc:
            self.exchange.spent.over_budget = str(exc)
            return
        if self.most == self.config.samples:
            return
        completion, drawn = await self.answer.get(), tuple(self.samples)
        if any(is_judged(choice) and self._is_open(choice, drawn) for choice in completion.choices):
            self.exchange.spent.over_budget = f"samples: {self.most} of {self.config.samples} may be drawn"

    def are_wanted(self) -> bool:
        """Return whether further samples are wanted; until the answer has arrived, they are."""
        return self.answer.now is None or bool(self._open(self.answer.now))

    def _open(self, completion: Completion) -> list[Choice]:
        """Return the choices that wait for samples, by the route's ``sampling.wait``."""
        judged = [choice for choice in completion.choices if is_judged(choice)]
        wait = self.config.sampling.wait
        if wait == "none":
            return judged  # all are drawn, so that every confidence is of k samples
        # With ``band``, the answer alone decides whether samples are drawn, and then all are.
        samples = tuple(self.samples) if wait == "sequential" else ()
        return [choice for choice in judged if self._is_open(choice, samples)]

    def _is_open(self, choice: Choice, samples: Sequence[str]) -> bool:
        return is_open(
            self.exchange.gate,
            replace(choice.evidence, samples=samples),
            self.config.samples,
            threshold=self.exchange.request.threshold,
            level=self.config.sampling.level,
        )

    def _batch(self) -> int:
        """Return how many to draw now: the fewest that can settle a verdict (``sequential``), or all."""
        left = self.most - len(self.samples)
        completion, sampling = self.answer.now, self.config.sampling
        if sampling.wait != "sequential" or completion is None:
            return left
        gate, threshold = self.exchange.gate, self.exchange.request.threshold
        settling = (
            fewest(
                gate,
                replace(choice.evidence, samples=tuple(self.samples)),
                self.config.samples,
                threshold=threshold,
                level=sampling.level,
            )
            for choice in self._open(completion)
        )
        return min(left, *settling)

    def _asks(self, count: int) -> deque[Ask]:
        """Return the calls for ``count`` samples: one if the format and the upstream take ``n``."""
        exchange = self.exchange
        whole = (
            count > 1
            and exchange.surface.takes_n
            and self.refused_n is None
            and exchange.may_use("n", sample=True)
        )
        calls = 1 if whole else count
        sampling = self.config.sampling
        own = {"temperature": sampling.temperature}
        if sampling.top_p is not None:
            own["top_p"] = sampling.top_p
        ask = Ask(
            model=self.config.model,
            params={**self.config.params, **own},
            logprobs=False,
            top_logprobs=0,
            samples=count if whole else 1,
            max_tokens=self._max_tokens(count, calls),
        )
        if calls == 1:
            return deque([ask])
        return deque(msgspec.structs.replace(ask, seed=seed) for seed in self._seeds(calls))

    def _seeds(self, calls: int) -> Sequence[int | None]:
        """Return a seed for each of several calls, so that equal requests are not answered from one cache."""
        exchange = self.exchange
        if not exchange.may_use("seed", sample=True):
            return [None] * calls
        given = self.config.params.get("seed", exchange.request.seed)
        # Derived from the client's seed, so that results can be repeated, but never equal to the answer's seed.
        first = secrets.randbelow(_SEEDS) if given is None else int(given) + 1 + len(self.samples)
        return [(first + place) % _SEEDS for place in range(calls)]

    def _max_tokens(self, count: int, calls: int) -> int | None:
        """Return the most tokens of each sample that keep all samples within the budget of tokens."""
        completion = self.answer.now
        left = None if completion is None else tokens_left(self.exchange, completion)
        if completion is None or left is None:
            return None
        each = (left - calls * (completion.prompt_tokens or 0)) // count
        if each < 1:
            raise OverBudget(f"tokens: {left} are left, too few for {count} samples")
        own = self.exchange.request.max_tokens
        return None if own is not None and own <= each else each

    async def _draw(self, asks: deque[Ask]) -> None:
        """Make the calls, several at a time, until they are done or no longer wanted."""
        granted = self.slots.take(len(asks))
        arriving = asyncio.ensure_future(self.answer.get())
        calling: set[asyncio.Task[None]] = set()
        try:
            while self.are_wanted() and (asks or calling):
                while asks and len(calling) < granted and not self.failed:
                    calling.add(asyncio.ensure_future(self._call(asks.popleft())))
                if not calling:
                    return
                awaited = calling if arriving.done() else calling | {arriving}
                done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                for call in done & calling:
                    call.result()
                calling -= done
        finally:
            arriving.cancel()
            for call in calling:
                call.cancel()
            await asyncio.wait({arriving, *calling})
            self.slots.give(granted)

    async def _call(self, ask: Ask) -> None:
        """Make one call and keep its samples; after a refusal, leave out ``n`` or the seed."""
        try:
            completion = await further(self.exchange, ask)
        except UpstreamStatus as exc:
            if ask.samples > 1 and is_refusal(exc):
                self.refused_n = ask  # the next calls, one for each sample, show whether n was the reason
            elif ask.seed is None or not is_refusal(exc) or not await self._call_without_seed(ask):
                self._fails(exc)
        except HttpError as exc:
            self._fails(exc)
        else:
            self._keep(completion, ask)

    async def _call_without_seed(self, ask: Ask) -> bool:
        """Make a refused call again without its seed; return whether that succeeded."""
        less = msgspec.structs.replace(ask, seed=None)
        try:
            completion = await further(self.exchange, less)
        except HttpError:
            return False
        self.exchange.suspect("seed", ask, less)
        self._keep(completion, less)
        return True

    def _keep(self, completion: Completion, ask: Ask) -> None:
        """Keep the samples of a response."""
        said = [text for choice in completion.choices if (text := _said(choice, ask)) is not None]
        if len(completion.choices) < ask.samples:
            self.refused_n = ask
        elif len(said) < ask.samples:
            self.exchange.spent.over_budget = "tokens: a sample was cut off by what was left of them"
            self.failed = True
        if not completion.choices:
            self.failed = True
        elif self.refused_n is not None:
            self.exchange.suspect("n", self.refused_n, msgspec.structs.replace(ask, samples=1))
        self.samples += said[: ask.samples]

    def _fails(self, exc: HttpError) -> None:
        self.failed, self.error = True, exc
        logger.warning("%s: a sample failed: %s", self.exchange.route.name, failure_summary(exc))
        if isinstance(exc, UpstreamError):
            self.exchange.route.upstream_metrics.failed(exc.kind)


def _said(choice: Choice, ask: Ask) -> str | None:
    """Return a sample's text, or None if it is unknown: it cannot be read, or the budget cut its end off."""
    if choice.unreadable is not None:
        return None
    if ask.max_tokens is not None and choice.finish_reason == "length":
        return None
    return SILENT if choice.refusal or choice.tool_call else choice.evidence.answer
