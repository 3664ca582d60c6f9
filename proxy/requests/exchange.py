"""One request on its way, what it has cost so far, and the answer that was judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.server.bodies import Bodies
from proxy.surfaces.contract import NOTHING_MORE, Ask, Extra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gating.gate import Gate
    from proxy.requests.prompt.context import Found
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Completion, Request, Surface, Verdict


@dataclass(slots=True)
class Spent:
    """What was paid beyond the answer itself. Counts that an upstream did not give are not in it."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def tokens_of(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Add what a call was counted to cost."""
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0

    @property
    def tokens(self) -> int:
        """Both kinds."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(slots=True)
class Exchange:
    """One request on its way; the times are of ``perf_counter``.

    ``held``: nothing may go out before its end, whatever the route's mode is.
    """

    route: Route
    surface: Surface
    request: Request
    credentials: bytes | None
    held: bool = False
    #: Reads and writes the request's body, which had ``size`` bytes, and its answers.
    bodies: Bodies = field(default_factory=Bodies)
    size: int = 0
    started: float = field(default_factory=perf_counter)
    asked: float = 0.0
    answered: float = 0.0
    #: Bytes of a streamed answer.
    received: int = 0
    #: The response's ``x-request-id``; empty where the request is another one's remedy.
    id: str = ""
    #: Whether it is in the audit sample: then its whole answer is wanted, whatever the gate will say.
    drawn: bool = False
    #: Seconds that the verdict waited for other upstream calls once the answer was there.
    waited: float = 0.0
    #: The answer that was judged in the end, and how; None before. (What was judged holds its exchange: a cycle.)
    completion: Completion | None = None
    verdict: Verdict | None = None
    #: When it must be over, on the loop's clock; None: whenever it is.
    deadline: float | None = None
    #: Whether its tokens must be counted, also where the client does not ask for them.
    metered: bool = False
    #: Of the answer itself, as far as the upstream counted them.
    tokens: int = 0
    #: None until something is spent: most requests never do.
    spent: Spent | None = None
    #: Whether it came with context, None where the route cannot tell; and that context.
    context: bool | None = None
    #: Whether it asks without its context because the answer with it was withheld.
    rescued: bool = False
    found: Found | None = None
    #: The request as a person reads it, where the route's worked examples were put before its question.
    given: Request | None = None
    #: Whether its verdict is counted: that of another one's remedy is counted with it.
    counted: bool = True
    #: Why the budget of further calls was not enough; None where it was.
    over_budget: str | None = None

    def another(self, route: Route, surface: Surface, request: Request, **differing: Any) -> Exchange:
        """Return a further exchange for the same client, with its credentials and its body limits."""
        differing |= {"bodies": self.bodies, "size": self.size}
        return Exchange(route, surface, request, self.credentials, **differing)

    @property
    def gate(self) -> Gate:
        """The route's gate; a route that is off has none and never comes here."""
        if self.route.gate is None:
            raise AssertionError("a route that is off was gated")
        return self.route.gate

    @property
    def ask(self) -> Ask:
        """What the upstream is asked beside what the client asked for."""
        route, gate = self.route, self.gate
        upstream = route.upstream
        abilities, model = upstream.abilities, self.model
        reads = (
            bool(gate.needs & {"logprobs", "top_logprobs"})
            and upstream.gives_logprobs
            and abilities.takes(model, "logprobs")
        )
        wanted = self.request.top_logprobs if self.request.logprobs else 0
        tops = route.top_logprobs
        return Ask(
            model=route.config.model,
            params=route.config.params,
            logprobs=reads,
            top_logprobs=max(tops, wanted) if reads and abilities.takes(model, "top_logprobs") else wanted,
            alternatives=tops,
            usage=self.held or self.metered or bool(route.remedies),
            gate_tools=route.config.gate_tools,
        )

    @property
    def model(self) -> str:
        """What the upstream is asked for."""
        return self.route.config.model or self.request.model

    @property
    def holds(self) -> bool:
        """Whether the answer waits for its verdict."""
        return self.held or self.route.holds

    @property
    def spending(self) -> Spent:
        """Where further calls are counted."""
        if self.spent is None:
            self.spent = Spent()
        return self.spent

    @property
    def paid_tokens(self) -> int:
        """All that was paid for, as far as upstreams counted it."""
        return self.tokens + (0 if self.spent is None else self.spent.tokens)

    @property
    def extra(self) -> Extra:
        """What was spent until now."""
        spent = self.spent
        return (
            NOTHING_MORE
            if spent is None
            else Extra(spent.calls, spent.prompt_tokens, spent.completion_tokens)
        )


class Judged(msgspec.Struct, frozen=True):
    """A completion with its verdict, of which nothing has gone out (or, streamed, all but its end).

    ``finish`` makes what is left to send under a verdict.
    """

    exchange: Exchange
    completion: Completion
    verdict: Verdict
    finish: Callable[[Completion, Verdict], bytes]
    upstream_headers: Sequence[tuple[bytes, bytes]] = ()

    @property
    def withheld(self) -> bool:
        """Whether the whole answer is: nothing of it would go out."""
        return len(self.verdict.withheld) == len(self.completion.choices) > 0

    def rendered(self) -> bytes:
        """What is left to send."""
        return self.finish(self.completion, self.verdict)
