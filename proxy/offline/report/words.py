"""Numbers as a person says them. What is not known is said so."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.offline.report.curves import Interval

UNKNOWN = "not known"
#: Keeps a number and its sign on one line.
_NARROW = "\u202f"


def percent(share: float | None) -> str:
    """Two digits of a share in [0, 1]: 41 %, 9.3 %, 0.52 %; neither 0 % nor 100 % where it is not quite that."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{min(floor(10 * value) / 10, 99.9):.1f}{_NARROW}%"
    if 0 < value < 0.1:
        return f"under 0.1{_NARROW}%"
    return f"{value:.{0 if value in (0, 100) or value >= 9.95 else 1}f}{_NARROW}%"


def percent_at_most(share: float) -> str:
    """A bound, rounded up to a tenth: what is certified is never said smaller than it is."""
    tenths = ceil(round(1000 * share, 6))
    return f"{tenths / 10:g}{_NARROW}%"


def interval_in_percent(interval: Interval | None) -> str:
    """Both ends of an interval of shares."""
    if interval is None:
        return UNKNOWN
    low, high = (100 * end for end in interval)
    places = 0 if high - low >= 5 else 1
    return f"{low:.{places}f}–{high:.{places}f}{_NARROW}%"


def number(value: float | None, places: int = 3) -> str:
    """A figure that is no share."""
    return UNKNOWN if value is None else f"{value:.{places}f}".replace("-", "−")


def interval(ends: Interval | None, places: int = 2) -> str:
    """Both ends of an interval, or nothing where there is none."""
    return "" if ends is None else " to ".join(number(end, places) for end in ends)


def signed(value: float | None) -> str:
    """A score that may be a loss."""
    return UNKNOWN if value is None else f"{value:+.3f}".replace("-", "−")


def count(value: int | None) -> str:
    """Grouped by thousands."""
    return UNKNOWN if value is None else f"{value:,}"


def several(value: int, one: str, many: str | None = None) -> str:
    """``1 answer``, ``240 answers``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def ticks(top: float, most: int = 5) -> list[float]:
    """At most ``most`` + 1 round values from 0, the last one at or above ``top`` > 0."""
    rough = top / most
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    return [step * place for place in range(ceil(top / step - 1e-9) + 1)]
