"""Formatting of numbers for people; unknown values become "not known"."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.offline.report.curves import Interval

UNKNOWN = "not known"
#: Keeps a number and its sign on one line.
_NARROW = "\u202f"


def percent(share: float | None) -> str:
    """Format a share in [0, 1] as 41 % or 9.3 %; only exact values become 0 % or 100 %."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{min(floor(10 * value) / 10, 99.9):.1f}{_NARROW}%"
    if 0 < value < 0.1:
        return f"under 0.1{_NARROW}%"
    return f"{value:.{0 if value in (0, 100) or value >= 9.95 else 1}f}{_NARROW}%"


def percent_at_most(share: float) -> str:
    """Format a bound, rounded up to a tenth, so that no certified bound looks smaller than it is."""
    tenths = ceil(round(1000 * share, 6))
    return f"{tenths / 10:g}{_NARROW}%"


def interval_in_percent(interval: Interval | None) -> str:
    """Format an interval of shares as percentages."""
    if interval is None:
        return UNKNOWN
    low, high = (100 * end for end in interval)
    places = 0 if high - low >= 5 else 1
    return f"{low:.{places}f}–{high:.{places}f}{_NARROW}%"


def number(value: float | None, places: int = 3) -> str:
    """Format a number that is not a share."""
    return UNKNOWN if value is None else f"{value:.{places}f}".replace("-", "−")


def interval(ends: Interval | None, places: int = 2) -> str:
    """Format an interval of numbers; an empty text without one."""
    return "" if ends is None else " to ".join(number(end, places) for end in ends)


def signed(value: float | None) -> str:
    """Format a score with its sign."""
    return UNKNOWN if value is None else f"{value:+.3f}".replace("-", "−")


def count(value: int | None) -> str:
    """Format a count with thousands separators."""
    return UNKNOWN if value is None else f"{value:,}"


def several(value: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun: ``1 answer``, ``240 answers``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def ticks(top: float, most: int = 5) -> list[float]:
    """Return at most ``most`` + 1 round values from 0, the last at or above ``top`` > 0."""
    rough = top / most
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    return [step * place for place in range(ceil(top / step - 1e-9) + 1)]
