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

    def allows(self, wait_s: float) -> bool:
        """Whether a wait is worth it; an upstream may ask for minutes."""
        return wait_s <= self.patience_s


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
