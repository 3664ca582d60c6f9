"""The bounded queue of judged requests that are written to the store off the request's path.

Recording costs a request one small object and one append. A background task writes in batches. While the store is
down, events wait in the queue; events that find it full are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
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


#: How long events may wait for a batch; a reader that misses a decision waits as long before it reads again.
GATHER_S = 0.5


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of the queue and the pace of its writer."""

    #: Events that wait at most: a few megabytes, or minutes without the store at a usual rate.
    events: int = 10_000
    #: Estimated bytes of texts and evidence that wait at most.
    text_bytes: int = 50_000_000
    #: How long the writer collects a batch (see GATHER_S). Each batch rewrites pages of an index
    #: over random ids, so five times as many events in one batch cost about half (measured with SQLite).
    gather_s: float = GATHER_S
    #: Events in one write.
    batch: int = 500
    #: How long the writer waits after the store has failed.
    retry_s: float = PAUSE_S
    #: How long a stopping proxy tries to write the waiting events.
    finish_s: float = 5.0


class Recorder:
    """Queues judged requests and writes them to the store.

    ``rng`` draws the audit sample; the draw depends on nothing in the request.
    """

    def __init__(
        self,
        link: StoreLink,
        rng: Random,
        *,
        log_text: bool = False,
        limits: QueueLimits | None = None,
        bodies: Bodies | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self.log_text = log_text
        self._link = link
        self._draw = rng.random
        self._bodies = Bodies() if bodies is None else bodies
        self._clock = clock
        self._limits = QueueLimits() if limits is None else limits
        self._waiting: deque[Event] = deque()
        self._text = 0
        self._any = asyncio.Event()
        self._writing = asyncio.Lock()

    def drawn(self, share: float) -> bool:
        """Draw whether the next request is in the audit sample, with probability ``share``."""
        return share > 0.0 and self._draw() < share

    def record(self, exchange: Exchange, completion: Completion, verdict: Verdict) -> None:
        """Queue one judged request without waiting; drop and count it where the queue is full."""
        text = self.log_text or exchange.drawn
        size = _size(exchange, completion) if text else 0
        if len(self._waiting) >= self._limits.events or self._text + size > self._limits.text_bytes:
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
                exchange.key,
                size,
                applies=exchange.match is None or exchange.match.applies,
                format=exchange.surface.name,
                without=exchange.found.without if text and exchange.found is not None else None,
            )
        )
        self._any.set()

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._any.wait()
            await asyncio.sleep(self._limits.gather_s)
            try:
                await self.flush()
            except StoreError:  # logged and counted by the link; the events stay queued
                await asyncio.sleep(self._limits.retry_s)

    async def flush(self) -> None:
        """Write all queued events; raises StoreError, and then they stay queued."""
        async with self._writing:
            while self._waiting:
                batch = list(islice(self._waiting, self._limits.batch))
                records, items, lost = await self._records(batch)
                try:
                    await self._link.do("record", lambda store, r=records, i=items: store.add_decisions(r, i))  # type: ignore[misc] # bound now
                except StoreError:
                    raise
                except Exception:  # a batch that no store accepts must not block the queue for ever
                    logger.exception("%d decisions cannot be recorded", len(batch))
                    lost = len(batch)
                if lost:
                    self._link.dropped("record", lost)
                for _ in batch:
                    self._text -= self._waiting.popleft().size
            self._any.clear()

    async def _records(self, batch: list[Event]) -> tuple[list[DecisionRecord], list[AuditItem], int]:
        """Return the batch as records and audit items, with the number of events that cannot be converted."""
        records: list[DecisionRecord] = []
        items: list[AuditItem] = []
        lost = 0
        for event in batch:
            try:
                theirs, drawn = await self._bodies.on_request(event.size, records_of, event)
            except Exception:  # one faulty event must not block the others
                logger.exception("a decision of route %s cannot be recorded", event.route.name)
                lost += 1
                continue
            records += theirs
            items += drawn
            if drawn:  # converting a long answer takes a while: let requests run in between
                await asyncio.sleep(0)
        return records, items, lost

    async def finish(self) -> None:
        """Write the queued events within ``finish_s``; drop and count the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.finish_s):
                while self._waiting:
                    try:
                        await self.flush()
                    except StoreError:  # the store may come back in time
                        await asyncio.sleep(self._limits.retry_s)
        if self._waiting:
            self._link.dropped("record", len(self._waiting))
            logger.warning(
                "%d decisions were not recorded: the store did not accept them before the proxy stopped",
                len(self._waiting),
            )


def _size(exchange: Exchange, completion: Completion) -> int:
    """Estimate the bytes of memory that a queued request with its texts holds."""
    asked = sum(len(field) for field in exchange.request.fields.values())
    tokens = 0
    for choice in completion.choices:
        logprobs = choice.evidence.token_logprobs
        if logprobs and not isinstance(logprobs, Unmeasured):
            tokens += len(logprobs) * (1 + len((choice.evidence.top_logprobs or ((),))[0]))
    return asked + len(completion.body) + 64 * tokens
