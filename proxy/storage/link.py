"""Access to a store that may be down or slow: short timeouts, and a pause after each failure."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from proxy.exceptions import StoreError, StoreRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.metrics import Metrics
    from proxy.storage import Store

logger = logging.getLogger("idk")

Result = TypeVar("Result")

#: Seconds that one operation may take.
TIMEOUT_S = 3.0
#: Seconds after a failure during which operations fail at once.
PAUSE_S = 1.0


class StoreLink:
    """A store with bounded waiting times; opens the store at first use, counts failures, and recovers by itself."""

    def __init__(self, store: Store, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self.store = store
        self._errors = metrics.store_errors
        self._clock = clock
        self._opened = False
        self._opening = asyncio.Lock()
        self._pause_until = 0.0
        self._down = False

    async def do(
        self, operation: str, call: Callable[[Store], Awaitable[Result]], timeout_s: float = TIMEOUT_S
    ) -> Result:
        """Run ``call`` on the open store within ``timeout_s``; raises StoreError, counted under ``operation``."""
        if self._clock() < self._pause_until:
            raise StoreError(f"{self.store.name}: failed a moment ago; the next attempt is in a second")
        try:
            async with asyncio.timeout(timeout_s):
                await self._open()
                result = await call(self.store)
        except StoreRefused:
            raise
        except StoreError as exc:
            self._failed(operation, exc)
            raise
        except TimeoutError as exc:
            error = StoreError(f"{self.store.name}: no answer within {timeout_s:g} s")
            self._failed(operation, error)
            raise error from exc
        if self._down:
            self._down = False
            logger.warning("%s: the store is available again", self.store.name)
        return result

    async def aclose(self) -> None:
        """Close the store; logs a StoreError instead of raising it."""
        try:
            await self.store.aclose()
        except StoreError as exc:
            logger.warning("closing the store failed: %s", exc)

    def dropped(self, operation: str, count: int) -> None:
        """Count records that were dropped."""
        self._errors.labels(operation).inc(count)

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                await self.store.open()
                self._opened = True

    def _failed(self, operation: str, error: StoreError) -> None:
        self._errors.labels(operation).inc()
        self._pause_until = self._clock() + PAUSE_S
        if not self._down:
            self._down = True
            logger.warning("the store failed; requests are still answered: %s", error)
