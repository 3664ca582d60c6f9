"""The path of a gated request: ask the upstream, read the evidence, judge it, render what goes out.

It knows no wire format (surfaces do) and no HTTP server (``proxy.endpoint`` does).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from gating.early import watch
from gating.types import Decision
from proxy.exceptions import BadRequest, UpstreamStatus
from proxy.upstreams.encoding import too_large
from proxy.wire import Ask, Report, Verdict, report_choices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gating.gate import Gate
    from proxy.asgi import Push, Wait
    from proxy.routing import Route
    from proxy.upstreams.transport import Response
    from proxy.wire import Choice, Completion, Request, StreamReader, Surface, Watch

#: The parameters of the wire formats that bound an answer's tokens.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(slots=True)
class Exchange:
    """One request on its way; the times are of ``perf_counter``."""

    route: Route
    surface: Surface
    request: Request
    credentials: bytes | None
    started: float = field(default_factory=perf_counter)
    asked: float = 0.0
    answered: float = 0.0
    #: The response's ``x-request-id``.
    id: str = ""
    #: Whether it is in the audit sample: then its whole answer is wanted, whatever the gate will say.
    drawn: bool = False

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
        reads = bool(gate.needs & {"logprobs", "top_logprobs"}) and route.upstream.gives_logprobs
        wanted = self.request.top_logprobs if self.request.logprobs else 0
        return Ask(
            model=route.config.model,
            params=route.config.params,
            logprobs=reads,
            top_logprobs=max(route.top_logprobs, wanted) if reads else wanted,
            alternatives=route.top_logprobs,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes to the client; ``upstream_headers`` are still to be sifted."""

    body: bytes
    verdict: Verdict
    upstream_headers: Sequence[tuple[bytes, bytes]]


def check(exchange: Exchange) -> None:
    """Refuse what the route does not allow; raises BadRequest."""
    if exchange.request.ungateable is not None and exchange.route.holds:
        raise BadRequest(
            f"{exchange.request.ungateable}; this route withholds what it cannot measure",
            code="ungateable",
            param=exchange.request.ungateable.partition(":")[0],
        )
    if exchange.request.threshold is None:
        return
    if not exchange.route.config.allow_override:
        raise BadRequest(
            "idk: this route does not let a request bring its own threshold (allow_override)", param="idk"
        )
    if exchange.gate.limit is None:
        raise BadRequest("idk: a threshold is on the confidence, and this route has no policy", param="idk")


async def complete(exchange: Exchange, limit: int) -> Reply:
    """Ask for a whole answer and judge it; ``limit`` bounds its bytes. Raises HttpError's kinds."""
    ask, response = await ask_upstream(exchange)
    try:
        body = await response.read(limit)
    finally:
        response.close()
    exchange.answered = perf_counter()
    completion = exchange.surface.read(body, ask)
    verdict = judge(exchange, completion)
    record(exchange, completion, verdict)
    body = exchange.surface.render(exchange.request, ask, completion, verdict)
    return Reply(body, verdict, response.headers)


async def ask_upstream(exchange: Exchange) -> tuple[Ask, Response]:
    """The upstream's answer, its head read. One that refuses logprobs is asked again without, and remembered."""
    upstream = exchange.route.upstream
    ask = exchange.ask
    exchange.asked = perf_counter()
    try:
        return ask, await _post(exchange, ask)
    except UpstreamStatus as exc:
        # Where the client itself asked for logprobs, the refusal is its answer.
        if exchange.request.logprobs or not (ask.logprobs and _refuses_logprobs(exc)):
            raise
        upstream.gives_logprobs = False
        ask = msgspec.structs.replace(ask, logprobs=False, top_logprobs=0)
    return ask, await _post(exchange, ask)


async def _post(exchange: Exchange, ask: Ask) -> Response:
    body = exchange.surface.outgoing(exchange.request, ask)
    return await exchange.route.upstream.post(exchange.surface.path, body, exchange.credentials)


def _refuses_logprobs(exc: UpstreamStatus) -> bool:
    return exc.http_status in (400, 404, 422) and "logprobs" in f"{exc.message} {exc.param}".lower()


def judge(exchange: Exchange, completion: Completion, *, cancelled: bool = False) -> Verdict:
    """The gate's word on each choice, counted."""
    route, gate, request = exchange.route, exchange.gate, exchange.request
    applies = route.applies(request)
    decisions = tuple(
        _decide(gate, choice, request.threshold, applies=applies) for choice in completion.choices
    )
    if cancelled:
        # A cut answer is never served, whatever was said of the part that came.
        decisions = tuple(replace(d, decision="abstain", reason="below_threshold") for d in decisions)
    for decision in decisions:
        route.metrics.decided(decision)
    withheld = frozenset(
        choice.index
        for choice, decision in zip(completion.choices, decisions, strict=True)
        if route.holds and not decision.served and not choice.refusal
    )
    report = Report(
        route=route.name,
        mode=route.config.mode,
        policy=route.policy,
        certified=not route.revoked and gate.certified(request.threshold, applies=applies),
        choices=report_choices(decisions, completion.choices),
    )
    return Verdict(decisions, withheld, report, route.config.abstain_text)


def _decide(gate: Gate, choice: Choice, threshold: float | None, *, applies: bool) -> Decision:
    limit = gate.limit if threshold is None else threshold
    if choice.refusal:
        return Decision("abstain", "upstream_abstained", threshold=limit)
    if choice.tool_call:
        return Decision("answer", "tool_call", threshold=limit)
    return gate.decide(choice.evidence, threshold=threshold, applies=applies)


def record(exchange: Exchange, completion: Completion, verdict: Verdict) -> None:
    """Queue the verdict for the store, where there is one."""
    if exchange.route.recorder is not None:
        exchange.route.recorder.record(exchange, completion, verdict)


def reader(exchange: Exchange, ask: Ask) -> StreamReader:
    """A reader of the upstream's events that holds them where the route enforces."""
    route, request = exchange.route, exchange.request
    watching: Callable[[], Watch] | None = None
    # Words before a tool call are no answer: with tools on offer the end must be seen.
    wanted = request.tools or exchange.drawn
    if route.holds and ask.logprobs and not wanted and route.applies(request):
        watching = watch(exchange.gate, max_tokens=_most_tokens(exchange), threshold=request.threshold)
    return exchange.surface.stream(request, ask, hold=route.holds, watch=watching)


def _most_tokens(exchange: Exchange) -> int | None:
    """How long the answer can become; the route's own parameters stand over the client's."""
    params = exchange.route.config.params
    limits = [int(params[name]) for name in _LIMITS if name in params]
    return max([*limits, exchange.request.max_tokens or 0]) or None


@contextmanager
def _redacted(exchange: Exchange) -> Iterator[None]:
    """An error that stands in the stream is the upstream's own text: no secret may go out in it."""
    try:
        yield
    except UpstreamStatus as exc:
        raise UpstreamStatus(exchange.route.upstream.redact(exc.message), code=exc.code) from None


class _Settled(Exception):
    """Nothing that could still come matters."""


async def flow(exchange: Exchange, events: StreamReader, response: Response, limit: int, out: Push) -> None:
    """Give ``out`` what may go as it comes (nothing while holding), until the stream ends or is settled.

    Raises UpstreamTooLarge over ``limit`` bytes: the reader keeps what it has read.
    """
    size = 0

    def take(data: bytes) -> Wait | None:
        nonlocal size
        size += len(data)
        if size > limit:
            raise too_large(limit)
        ready = events.feed(data)
        if events.settled:
            raise _Settled
        return out(ready) if ready else None

    try:
        with _redacted(exchange):
            await response.pour(take)
    except _Settled:
        pass  # a reader that settles holds: nothing was ready
    finally:
        response.close()
        exchange.answered = perf_counter()


def close_stream(exchange: Exchange, events: StreamReader) -> tuple[bytes, Verdict]:
    """The end of the stream: the verdict, and everything that waited for it."""
    cancelled = events.settled
    with _redacted(exchange):
        completion = events.completion()
    verdict = judge(exchange, completion, cancelled=cancelled)
    record(exchange, completion, verdict)
    if cancelled:
        exchange.route.metrics.cancelled("abstained")
    return events.finish(completion, verdict, cancelled=cancelled), verdict


def record_times(exchange: Exchange) -> None:
    """Count a request's durations once it is over; what the upstream took is not the proxy's."""
    ended = perf_counter()
    route = exchange.route
    route.metrics.request_s.observe(ended - exchange.started)
    if exchange.asked and exchange.answered:
        upstream = exchange.answered - exchange.asked
        route.upstream_metrics.duration_s.observe(upstream)
        route.metrics.overhead_s.observe(ended - exchange.started - upstream)
