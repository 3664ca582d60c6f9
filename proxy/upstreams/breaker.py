"""A circuit breaker: an upstream that fails again and again is left alone for a while.

Consecutive failures open it, as Envoy's outlier detection counts them; after ``open_s`` one request goes through
to see, and its outcome closes the breaker or opens it anew (Nygard, "Release It!", 2007).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from proxy.exceptions import UpstreamError, UpstreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable


class UpstreamOpen(UpstreamError):
    """The breaker is open: nothing was sent."""

    status = 503
    kind = "breaker"


@dataclass(slots=True)
class Breaker:
    """Opens after ``failures`` in a row (0: never) for ``open_s`` seconds of ``clock``."""

    failures: int
    open_s: float
    clock: Callable[[], float] = monotonic
    _in_a_row: int = field(default=0, init=False)
    _until: float = field(default=0.0, init=False)
    _probing: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether the next request would be refused."""
        return self._tripped and (self._probing or self.clock() < self._until)

    def enter(self) -> None:
        """Before a request; raises UpstreamOpen where none may be made now."""
        if not self._tripped:
            return
        if self.is_open:
            left_s = max(1.0, self._until - self.clock())
            raise UpstreamOpen("the upstream failed too often; it is asked again soon", retry_after_s=left_s)
        self._probing = True

    def succeeded(self) -> None:
        """It answered: whatever it said, it is there."""
        self._in_a_row = 0
        self._probing = False

    def failed(self, error: UpstreamError) -> None:
        """It failed; an answer that only refuses this one request is none of the upstream's failures."""
        if isinstance(error, UpstreamStatus) and error.http_status < 500:
            self.succeeded()
            return
        self._in_a_row += 1
        self._probing = False
        if self._tripped:
            self._until = self.clock() + self.open_s

    def left(self) -> None:
        """The request was given up before its outcome was known: another may try."""
        self._probing = False

    @property
    def _tripped(self) -> bool:
        return 0 < self.failures <= self._in_a_row
