"""When to ask an upstream again: exponential waits with full jitter, and the upstream's own ``retry-after``."""

from __future__ import annotations

import email.utils
import math
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.exceptions import UpstreamError

#: The first wait is at most this; each further one at most twice the one before (as OpenAI's SDK waits).
_FIRST_S = 0.5
_LONGEST_S = 8.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """``retries`` further attempts, none of them after a wait of more than ``patience_s``."""

    retries: int
    patience_s: float
    random: Random = field(default_factory=Random)

    def delays(self) -> Iterator[float | None]:
        """The wait in seconds after each attempt, None after the last. Jitter keeps clients from returning at once."""
        for attempt in range(self.retries):
            yield self.random.uniform(0.0, min(_FIRST_S * 2**attempt, _LONGEST_S))
        yield None

    def wait(self, delay: float | None, error: UpstreamError) -> float | None:
        """Seconds until the next attempt after ``error``, or None where there is none.

        ``delay`` is what ``delays`` gave for this attempt. The upstream's own ``retry-after`` stands over it,
        unless it is longer than anyone would wait.
        """
        if delay is None or not error.may_retry:
            return None
        wait_s = delay if error.retry_after_s is None else error.retry_after_s
        return wait_s if wait_s <= self.patience_s else None


def retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds that ``retry-after-ms`` or ``retry-after`` (RFC 9110, 10.2.3: seconds or a date) asks for."""
    found = dict(headers)
    milliseconds = _number(found.get(b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = found.get(b"retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(value.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
