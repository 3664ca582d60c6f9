"""The three parts of one gated request: what came in, what was spent on it, and what came out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.server.bodies import Bodies
from proxy.surfaces.contract import NOTHING_MORE, Ask, Extra
from proxy.upstreams.abilities import Suspicion, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gating.gate import Gate
    from proxy.requests.matching import Match
    from proxy.requests.prompt.context import Found
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Completion, Request, Surface, Verdict
    from proxy.upstreams.abilities import Ability, Kind


@dataclass(slots=True)
class Spent:
    """The time, the calls and the tokens that a request has cost so far.

    Times are readings of ``perf_counter``. Tokens that an upstream did not count are missing from the sums.
    """

    started: float = field(default_factory=perf_counter)
    #: When the request was sent to the upstream, and when its answer was read; 0.0 before.
    asked: float = 0.0
    answered: float = 0.0
    #: Seconds that the verdict waited for further calls after the answer had arrived.
    waited: float = 0.0
    #: Bytes of a streamed answer.
    received: int = 0
    #: Tokens of the answer itself: prompt and completion.
    answer_tokens: int = 0
    #: Further calls, and their tokens.
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: Which limit of the budget kept evidence from being gathered, as a sentence; None if none did.
    over_budget: str | None = None
    #: Whether the answer was asked for with logprobs.
    with_logprobs: bool = True
    #: The probes that look whether the upstream really gives no logprobs, after it refused them for this request.
    probe: asyncio.Future[Any] | None = None

    def add_tokens(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Add the token counts of a further call, as far as the upstream gave them."""
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0

    @property
    def extra_tokens(self) -> int:
        """Tokens of all further calls."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def tokens(self) -> int:
        """Tokens of the answer and of all further calls."""
        return self.answer_tokens + self.extra_tokens

    @property
    def extra(self) -> Extra:
        """The further calls, as the ``idk`` field of a response reports them."""
        if not self.calls:
            return NOTHING_MORE
        return Extra(self.calls, self.prompt_tokens, self.completion_tokens)


class Exchange(msgspec.Struct, frozen=True, eq=False):
    """One request on its route, as it came in; ``spent`` is the account of what it costs.

    A changed request (with a context found, on another route) is another exchange, made with
    ``msgspec.structs.replace``, which shares the account.
    """

    route: Route
    surface: Surface
    request: Request
    #: The client's Authorization header, for upstreams that take it; None otherwise.
    credentials: bytes | None
    #: Reads and writes the request's body, which had ``size`` bytes, and its answers.
    bodies: Bodies = msgspec.field(default_factory=Bodies)
    size: int = 0
    #: The response's ``x-request-id``. It is empty for a request that a remedy makes, which is not recorded.
    id: str = ""
    #: The name of the client's key; None where the proxy has no keys.
    key: str | None = None
    #: Whether the request is in the audit sample. Then the whole answer is wanted, whatever the verdict.
    drawn: bool = False
    #: Whether nothing may be sent before the verdict, whatever the route's mode.
    held: bool = False
    #: Whether a stream must end with its token counts even if the client does not ask for them.
    usage: bool = False
    #: Whether the verdict counts in the metrics. A rescue's is counted with the request that it rescues.
    counted: bool = True
    #: The event loop's time at which the request must be over; None if there is no deadline.
    deadline: float | None = None
    #: Whether the request has context, and which; None if the route does not look for context.
    context: bool | None = None
    found: Found | None = None
    #: Whether the request asks without its context because the answer with context was withheld.
    rescued: bool = False
    #: The request before the route added to its prompt; None if the route adds nothing.
    given: Request | None = None
    #: How the request compares with those that the policy was fitted on; None until the pipeline has compared it.
    match: Match | None = None
    #: Called with the outcome, before anything of it is sent.
    on_outcome: Callable[[Outcome], None] | None = None
    spent: Spent = msgspec.field(default_factory=Spent)

    def another(self, route: Route, surface: Surface, request: Request, **fields: Any) -> Exchange:
        """Return an exchange of the same client with another request: same credentials and body limits."""
        fields |= {"bodies": self.bodies, "size": self.size}
        return Exchange(route, surface, request, self.credentials, **fields)

    @property
    def gate(self) -> Gate:
        """The route's gate. Requests on routes without one (``mode: off``) are never gated."""
        if self.route.gate is None:
            raise AssertionError(f"a request on the route {self.route.config.name}, which is off, was gated")
        return self.route.gate

    @property
    def model(self) -> str:
        """The model that the upstream is asked for."""
        return self.route.config.model or self.request.model

    @property
    def holds(self) -> bool:
        """Whether the answer waits for its verdict."""
        return self.held or self.route.holds

    def may_use(self, ability: Ability, *, sample: bool = False) -> bool:
        """Return whether the upstream accepts a parameter in requests of this kind; samples are never streamed."""
        abilities = self.route.upstream.abilities
        return abilities.complete or abilities.accepts(
            self.model, self._kind(sample=sample), ability, self.credentials
        )

    def suspect(self, ability: Ability, refused: Ask, accepted: Ask, fallback: Surface | None = None) -> None:
        """Report that the upstream refused ``refused`` and took ``accepted``, which does not use ``ability``.

        ``fallback`` is the surface of the second request where the ability is a wire format.
        """
        kind = self._kind(sample=refused.samples > 0)
        suspicion = Suspicion(self.surface, self.model, kind, ability, refused, accepted, fallback)
        probe = self.route.upstream.abilities.suspect(suspicion, self.credentials)
        if probe is not None and ability == "logprobs":
            self.spent.probe = probe

    async def learn(self) -> None:
        """Wait for the probes of an ability that the upstream refused for this request."""
        if self.spent.probe is not None:
            await asyncio.wait({self.spent.probe})

    @property
    def in_doubt(self) -> bool:
        """Whether the answer lacks logprobs because the upstream refused them, and no probe confirmed the refusal.

        The client's request may then be what the upstream refused.
        """
        route = self.route
        return (
            not self.spent.with_logprobs
            and route.reads_logprobs
            and route.upstream.gives_logprobs
            and not route.upstream.abilities.lacks(self.model, self._kind(), "logprobs")
        )

    def _kind(self, *, sample: bool = False) -> Kind:
        return kind_of(self.surface, self.request, stream=False if sample else None)

    @property
    def ask(self) -> Ask:
        """What the upstream is asked for in addition to what the client asked for."""
        route, request = self.route, self.request
        config = route.config
        reads = route.reads_logprobs and route.upstream.gives_logprobs and self.may_use("logprobs")
        wanted = request.top_logprobs if request.logprobs else 0
        tops = route.top_logprobs
        return Ask(
            model=config.model,
            params=config.params,
            logprobs=reads,
            top_logprobs=max(tops, wanted) if reads and self.may_use("top_logprobs") else wanted,
            alternatives=tops,
            usage=self.held or self.usage,
            gate_tools=config.gate_tools,
        )


class Outcome(msgspec.Struct, frozen=True, eq=False):
    """A judged answer of which nothing was sent yet (of a stream that flows: all but its end).

    ``finish`` makes the bytes that are left to send, by a verdict.
    """

    exchange: Exchange
    completion: Completion
    verdict: Verdict
    finish: Callable[[Completion, Verdict], bytes]
    upstream_headers: Sequence[tuple[bytes, bytes]] = ()

    @property
    def withheld(self) -> bool:
        """Whether every choice of the answer is withheld."""
        return len(self.verdict.withheld) == len(self.completion.choices) > 0

    def rendered(self) -> bytes:
        """Return the bytes that are left to send."""
        return self.finish(self.completion, self.verdict)
