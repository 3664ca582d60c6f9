"""Delays between retries: exponential with full jitter, or the upstream's ``retry-after``."""

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

#: Upper limits of the first delay and of all delays; the limit doubles with each retry, as in OpenAI's SDK.
_FIRST_S = 0.5
_LONGEST_S = 8.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The schedule of at most ``retries`` retries; a delay over ``patience_s`` ends them."""

    retries: int
    patience_s: float
    random: Random = field(default_factory=Random)

    def delays(self) -> Iterator[float | None]:
        """Yield the delay in seconds after each attempt, None after the last; jitter spreads the clients' retries."""
        for attempt in range(self.retries):
            yield self.random.uniform(0.0, min(_FIRST_S * 2**attempt, _LONGEST_S))
        yield None

    def wait(self, delay: float | None, error: UpstreamError) -> float | None:
        """Return the seconds until the retry after ``error``, or None where the request is not retried.

        ``delay`` is the value of ``delays`` for this attempt; the upstream's ``retry-after`` takes precedence.
        """
        if delay is None or not error.may_retry:
            return None
        wait_s = delay if error.retry_after_s is None else error.retry_after_s
        return wait_s if wait_s <= self.patience_s else None


def retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Return the seconds of ``retry-after-ms`` or ``retry-after`` (RFC 9110 section 10.2.3: seconds or a date)."""
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
