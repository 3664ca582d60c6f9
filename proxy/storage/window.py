"""A minute that slides, second by second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 60


@dataclass(slots=True)
class Window:
    """The sliding minute of one account, second by second, in this process."""

    spent: dict[int, int] = field(default_factory=dict)

    def spend(self, amount: int, most: int | None, now: float) -> float | None:
        """Add ``amount`` if it stays within ``most``; None then, else the seconds until it may.

        An ``amount`` of 0 asks whether anything may still be spent. The second at the window's edge counts
        whole: never too much is let through. What was spent more than a minute ahead was so before the clock was
        set back: it counts as spent now, else it would count until the clock has come there again.
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
    """Seconds until ``excess`` of what was ``spent`` (second, amount), oldest first, has left the window."""
    for second, amount in spent:
        excess -= amount
        if excess <= 0:
            return max(0.0, second + WINDOW_S + 1 - now)
    return float(WINDOW_S)
