"""Retries of one call to an upstream: delays, a retry budget, and the circuit breaker."""

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

#: gRPC's retry throttling (proposal A6): a failure takes a token, a success returns a tenth of one, and there are no
#: retries while half of the tokens are gone. Retries then double the load of a failing upstream for a moment at most.
_TOKENS = 10.0
_PER_SUCCESS = 0.1


@dataclass(slots=True)
class Throttle:
    """The retry budget that all requests to one upstream share."""

    tokens: float = _TOKENS

    def succeeded(self) -> None:
        """Return a part of a token after a success."""
        if self.tokens < _TOKENS:
            self.tokens = min(_TOKENS, self.tokens + _PER_SUCCESS)

    def failed(self) -> bool:
        """Take a token after a failure; return whether the budget allows a retry."""
        self.tokens = max(0.0, self.tokens - 1.0)
        return self.tokens > _TOKENS / 2


@dataclass(slots=True)
class Attempts:
    """The retry policy and the circuit breaker of one upstream, applied to each call."""

    backoff: Backoff
    breaker: Breaker
    metrics: UpstreamMetrics
    throttle: Throttle = field(default_factory=Throttle)

    async def run(self, once: Callable[[], Awaitable[Response]]) -> Response:
        """Return the response of the first successful attempt; raises the UpstreamError of the last attempt."""
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
                self.breaker.cancelled()
                raise
            else:
                self.breaker.succeeded()
                self.throttle.succeeded()
                return response
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover
