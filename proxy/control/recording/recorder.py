"""The queue between the request's path and the store.

On the path it costs one small object and one append. A task of its own writes in batches; while the store is
down events wait within a bound, and what finds no room is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from itertools import islice
from time import time
from typing import TYPE_CHECKING

from gating.types import Unmeasured
from proxy.control.recording.event import Event, records_of
from proxy.exceptions import StoreError
from proxy.server.bodies import Bodies
from proxy.storage.link import PAUSE_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from proxy.requests.exchange import Exchange
    from proxy.storage import AuditItem, DecisionRecord
    from proxy.storage.link import StoreLink
    from proxy.surfaces.contract import Completion, Verdict

logger = logging.getLogger("idk")

#: How many events wait at the most: a few megabytes, or minutes of the store's absence at a usual pace.
MOST_WAITING = 10_000
#: How much of texts and their evidence waits at the most, in bytes as they are estimated.
MOST_TEXT = 50_000_000
#: How long the first of a batch waits for the others: each batch writes the pages of an index over random ids anew,
#: so that five times as many in one cost half.
GATHER_S = 0.5
#: How many are written at once.
MOST_AT_ONCE = 500
#: How long a proxy that ends tries to write what waits.
LAST_S = 5.0


class Recorder:
    """Takes what was judged; ``rng`` draws the audit sample, and nothing of the request goes into the draw."""

    def __init__(
        self,
        link: StoreLink,
        rng: Random,
        *,
        log_text: bool = False,
        most_waiting: int = MOST_WAITING,
        bodies: Bodies | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self.log_text = log_text
        self._link = link
        self._draw = rng.random
        self._bodies = Bodies() if bodies is None else bodies
        self._clock = clock
        self._most = most_waiting
        self._waiting: deque[Event] = deque()
        self._text = 0
        self._any = asyncio.Event()
        self._writing = asyncio.Lock()

    def drawn(self, share: float) -> bool:
        """Whether the next request is in the sample."""
        return share > 0.0 and self._draw() < share

    def record(self, exchange: Exchange, completion: Completion, verdict: Verdict) -> None:
        """Queue one judged request; never waits, and drops where there is no room."""
        text = self.log_text or exchange.drawn
        size = _size(exchange, completion) if text else 0
        if len(self._waiting) >= self._most or self._text + size > MOST_TEXT:
            self._link.dropped("record", 1)
            return
        self._text += size
        self._waiting.append(
            Event(
                exchange.id,
                self._clock(),
                exchange.route,
                verdict,
                completion.id,
                completion.prompt_tokens,
                completion.completion_tokens,
                (exchange.given or exchange.request) if text else None,
                completion if text else None,
                exchange.drawn,
                self.log_text,
                size,
            )
        )
        self._any.set()

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._any.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except StoreError:  # said and counted; the events wait
                await asyncio.sleep(PAUSE_S)

    async def flush(self) -> None:
        """Write all that waits now; raises StoreError, and then it still waits."""
        async with self._writing:
            while self._waiting:
                batch = list(islice(self._waiting, MOST_AT_ONCE))
                records, items, lost = await self._records(batch)
                try:
                    await self._link.do("record", lambda store, r=records, i=items: store.add_decisions(r, i))  # type: ignore[misc] # bound now
                except StoreError:
                    raise
                except Exception:  # what no store can take must not keep the rest waiting for ever
                    logger.exception("%d decisions cannot be recorded", len(batch))
                    lost = len(batch)
                if lost:
                    self._link.dropped("record", lost)
                for _ in batch:
                    self._text -= self._waiting.popleft().size
            self._any.clear()

    async def _records(self, batch: list[Event]) -> tuple[list[DecisionRecord], list[AuditItem], int]:
        """What becomes of them, and how many of them cannot be kept: counted once, however often they are tried."""
        records: list[DecisionRecord] = []
        items: list[AuditItem] = []
        lost = 0
        for event in batch:
            try:
                theirs, drawn = await self._bodies.on_request(event.size, records_of, event)
            except Exception:  # one that cannot be kept must not keep the others waiting
                logger.exception("a decision of route %s cannot be recorded", event.route.name)
                lost += 1
                continue
            records += theirs
            items += drawn
            if drawn:  # a long answer's evidence takes a while: requests go first
                await asyncio.sleep(0)
        return records, items, lost

    async def finish(self) -> None:
        """Write what waits before the end, for a few seconds at the most; the rest is dropped and counted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while self._waiting:
                    try:
                        await self.flush()
                    except StoreError:  # it may be back in time
                        await asyncio.sleep(PAUSE_S)
        if self._waiting:
            self._link.dropped("record", len(self._waiting))
            logger.warning("%d decisions were not recorded", len(self._waiting))


def _size(exchange: Exchange, completion: Completion) -> int:
    """About how many bytes a request with its texts keeps alive."""
    asked = sum(len(field) for field in exchange.request.fields.values())
    tokens = 0
    for choice in completion.choices:
        logprobs = choice.evidence.token_logprobs
        if logprobs and not isinstance(logprobs, Unmeasured):
            tokens += len(logprobs) * (1 + len((choice.evidence.top_logprobs or ((),))[0]))
    return asked + len(completion.body) + 64 * tokens
