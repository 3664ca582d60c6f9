"""A sliding window of one minute, in steps of a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 60


@dataclass(slots=True)
class Window:
    """The amounts that one account spent in the last minute, per second, in this process."""

    spent: dict[int, int] = field(default_factory=dict)

    def spend(self, amount: int, most: int | None, now: float) -> float | None:
        """Add ``amount`` if the total stays within ``most`` and return None, else return the seconds until it does.

        An ``amount`` of 0 asks whether anything may still be spent. The second at the edge of the window counts
        completely, so the limit is never exceeded. Amounts more than a minute in the future were spent before the
        clock was set back; they count as spent now.
        """
        second = int(now)
        for each in list(self.spent):
            if each < second - WINDOW_S:
                del self.spent[each]
            elif each > second + WINDOW_S:
                self.spent[second] = self.spent.get(second, 0) + self.spent.pop(each)
        total = sum(self.spent.values())
        if most is not None and total + max(amount, 1) > most:
            return wait_for(sorted(self.spent.items()), total + max(amount, 1) - most, now)
        if amount:
            self.spent[second] = self.spent.get(second, 0) + amount
        return None


def wait_for(spent: list[tuple[int, int]], excess: int, now: float) -> float:
    """Return the seconds until the oldest ``excess`` of ``spent`` (second, amount) has left the window."""
    for second, amount in spent:
        excess -= amount
        if excess <= 0:
            return max(0.0, second + WINDOW_S + 1 - now)
    return float(WINDOW_S)
