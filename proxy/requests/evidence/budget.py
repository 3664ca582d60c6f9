"""What further calls a request and its route may make: samples, tokens, calls at one time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.requests.evidence.gathering import OverBudget

if TYPE_CHECKING:
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Completion

#: The tokens that a question about an answer adds to both.
OVERHEAD_TOKENS = 200


@dataclass(slots=True)
class Slots:
    """The calls that a route may have under way at one time; of this process.

    A request takes as many as are free, and makes its calls one after the other where they are fewer than it
    wants. Where none is free it does not wait for other requests: their calls may take as long as its budget.
    """

    free: int

    def take(self, wanted: int) -> int:
        """How many it may use, at least one; raises OverBudget. They are to be given back."""
        granted = min(wanted, self.free)
        if granted < 1:
            raise OverBudget("concurrency: the route has no further call free")
        self.free -= granted
        return granted

    def give(self, granted: int) -> None:
        """Let others use them."""
        self.free += granted


def tokens_left(exchange: Exchange, completion: Completion) -> int | None:
    """How many tokens the request may still spend, or None for no bound; raises OverBudget where none are.

    What an upstream does not count cannot be bounded, so that nothing more is asked of it.
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
