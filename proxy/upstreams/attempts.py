"""One call to an upstream as often as it is worth it: waits, a budget for retries, and the breaker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.exceptions import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.metrics import UpstreamMetrics
    from proxy.upstreams.breaker import Breaker
    from proxy.upstreams.retry import Backoff
    from proxy.upstreams.transport import Response

#: gRPC's retry throttling (proposal A6): each failure takes a token, each success gives a tenth of one, and
#: none is spent on a retry while half of them are gone. However many clients retry by themselves too, an
#: upstream that is down sees its load doubled for a moment at most.
_TOKENS = 10.0
_PER_SUCCESS = 0.1


@dataclass(slots=True)
class Throttle:
    """The budget for retries of all requests to one upstream together."""

    tokens: float = _TOKENS

    def succeeded(self) -> None:
        """An answer came."""
        if self.tokens < _TOKENS:
            self.tokens = min(_TOKENS, self.tokens + _PER_SUCCESS)

    def failed(self) -> bool:
        """A failure that may be tried again came; whether the budget allows it."""
        self.tokens = max(0.0, self.tokens - 1.0)
        return self.tokens > _TOKENS / 2


@dataclass(slots=True)
class Attempts:
    """What every call to one upstream goes through."""

    backoff: Backoff
    breaker: Breaker
    metrics: UpstreamMetrics
    throttle: Throttle = field(default_factory=Throttle)

    async def run(self, once: Callable[[], Awaitable[Response]]) -> Response:
        """The answer of the first attempt that has one; raises the last one's UpstreamError."""
        for delay in self.backoff.delays():
            self.breaker.enter()
            try:
                response = await once()
            except UpstreamError as exc:
                self.breaker.failed(exc)
                wait_s = self.backoff.wait(delay, exc)
                if not (exc.may_retry and self.throttle.failed()) or wait_s is None:
                    raise
                self.metrics.failed(exc.kind)
            except BaseException:
                self.breaker.left()
                raise
            else:
                self.breaker.succeeded()
                self.throttle.succeeded()
                return response
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover
