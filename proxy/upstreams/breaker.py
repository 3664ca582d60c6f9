"""A circuit breaker: an upstream that keeps failing receives no requests for a while.

Consecutive failures open the breaker, as in Envoy's outlier detection. After ``open_s`` seconds one trial request is
let through, and its outcome closes the breaker or opens it again (Nygard, "Release It!", 2007).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from proxy.exceptions import UpstreamBusy, UpstreamError, UpstreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable


class UpstreamOpen(UpstreamError):
    """The request was not sent because the circuit breaker is open."""

    status = 503
    kind = "breaker"


@dataclass(slots=True)
class Breaker:
    """A circuit breaker that opens after ``failures`` in a row (0: never) for ``open_s`` seconds of ``clock``."""

    failures: int
    open_s: float
    clock: Callable[[], float] = monotonic
    _in_a_row: int = field(default=0, init=False)
    _until: float = field(default=0.0, init=False)
    _probing: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether the next request would be rejected."""
        return self._tripped and (self._probing or self.clock() < self._until)

    def enter(self) -> None:
        """Register a request that is about to be sent; raises UpstreamOpen while the breaker is open."""
        if not self._tripped:
            return
        if self.is_open:
            wait_s = max(1.0, self._until - self.clock())
            raise UpstreamOpen("the upstream failed too often; try again later", retry_after_s=wait_s)
        self._probing = True

    def succeeded(self) -> None:
        """Register a response with any status below 500, and close the breaker."""
        self._in_a_row = 0
        self._probing = False

    def failed(self, error: UpstreamError) -> None:
        """Register a failed request.

        A status below 500 concerns that request alone and counts as a success. A request that found no free
        connection was not sent and says nothing about the upstream.
        """
        if isinstance(error, UpstreamBusy):
            self.cancelled()
            return
        if isinstance(error, UpstreamStatus) and error.http_status < 500:
            self.succeeded()
            return
        self._in_a_row += 1
        self._probing = False
        if self._tripped:
            self._until = self.clock() + self.open_s

    def cancelled(self) -> None:
        """Register a request that was cancelled before its outcome was known; another trial may be sent."""
        self._probing = False

    @property
    def _tripped(self) -> bool:
        return 0 < self.failures <= self._in_a_row
