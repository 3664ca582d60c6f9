"""A store that may be down or slow: short timeouts, and after a failure a while in which nobody waits for it."""

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

Found = TypeVar("Found")

#: How long one operation may take.
TIMEOUT_S = 3.0
#: How long the store is left alone after it could not be reached.
PAUSE_S = 1.0


class StoreLink:
    """Opens the store when it is first needed, counts what fails, and heals by itself."""

    def __init__(self, store: Store, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self.store = store
        self._errors = metrics.store_errors
        self._clock = clock
        self._opened = False
        self._opening = asyncio.Lock()
        self._until = 0.0
        self._down = False

    async def do(
        self, operation: str, call: Callable[[Store], Awaitable[Found]], timeout_s: float = TIMEOUT_S
    ) -> Found:
        """Run ``call`` on the open store; raises StoreError, counted under ``operation``, in bounded time."""
        if self._clock() < self._until:
            raise StoreError(f"{self.store.name}: failed a moment ago; it is tried again in a second")
        try:
            async with asyncio.timeout(timeout_s):
                await self._open()
                found = await call(self.store)
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
            logger.warning("%s: answers again", self.store.name)
        return found

    async def aclose(self) -> None:
        """Let go of the store; never raises StoreError."""
        try:
            await self.store.aclose()
        except StoreError as exc:
            logger.warning("the store does not close: %s", exc)

    def dropped(self, operation: str, count: int) -> None:
        """Count records that were given up."""
        self._errors.labels(operation).inc(count)

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                await self.store.open()
                self._opened = True

    def _failed(self, operation: str, error: StoreError) -> None:
        self._errors.labels(operation).inc()
        self._until = self._clock() + PAUSE_S
        if not self._down:
            self._down = True
            logger.warning("the store fails; answers go on without it: %s", error)
