"""Limits on further calls: the concurrent calls of a route and the tokens of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.requests.evidence.gathering import OverBudget

if TYPE_CHECKING:
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Completion

#: Tokens that a question about an answer adds to the prompt and the answer.
OVERHEAD_TOKENS = 200


@dataclass(slots=True)
class Slots:
    """The further calls that a route may have in flight at the same time in this process.

    A request takes as many slots as are free, and makes its calls one after the other if it wants more. If no slot is
    free, the request does not wait: the calls of other requests may take as long as its whole budget.
    """

    free: int

    def take(self, wanted: int) -> int:
        """Take up to ``wanted`` slots and return their number, at least one; raises OverBudget. Give them back."""
        granted = min(wanted, self.free)
        if granted < 1:
            raise OverBudget(
                "concurrency: all of the route's further calls (budget.concurrency) are in flight"
            )
        self.free -= granted
        return granted

    def give(self, granted: int) -> None:
        """Return slots to the pool."""
        self.free += granted


def tokens_left(exchange: Exchange, completion: Completion) -> int | None:
    """Return how many tokens the request may still spend, or None without a limit; raises OverBudget if none are left.

    If the upstream does not count tokens, they cannot be bounded, and nothing more is asked of it.
    """
    most = exchange.route.config.budget.tokens
    if most is None:
        return None
    if completion.prompt_tokens is None:
        raise OverBudget("tokens: the upstream does not count them, so they cannot be bounded")
    left = most - exchange.spent.extra_tokens
    if left < 1:
        raise OverBudget(f"tokens: all {most} are spent")
    return left


def check_question(exchange: Exchange, completion: Completion) -> None:
    """Refuse a question about the answer (a prompt of both) that may exceed the tokens; raises OverBudget."""
    left = tokens_left(exchange, completion)
    needed = (completion.prompt_tokens or 0) + (completion.completion_tokens or 0) + OVERHEAD_TOKENS
    if left is not None and needed > left:
        raise OverBudget(f"tokens: {left} are left, and a question about the answer takes about {needed}")
