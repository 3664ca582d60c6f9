"""The path of a gated request: ask the upstream, gather and read the evidence, judge it, render what goes out.

It knows no wire format (surfaces do) and no HTTP server (``proxy.gateway.endpoint`` does).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from gating.early import early_abstention
from gating.relatedness import words_of
from gating.sampled import decide
from gating.scorers.agreement import weakest_first
from gating.types import Decision, Evidence, Unmeasured
from proxy.exceptions import BadRequest, UpstreamGarbage, UpstreamStatus
from proxy.requests.evidence import NO_GATHERING, Gathering
from proxy.requests.evidence.base import is_judged
from proxy.requests.exchange import Exchange, Judged
from proxy.requests.prompt.prompting import prompted, prompts
from proxy.requests.upstream_call import ask_upstream
from proxy.server.bodies import LARGE_ANSWER, in_pieces
from proxy.surfaces.contract import Ask, Report, Sentence, Verdict, report_choices
from proxy.upstreams.encoding import too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from proxy.requests.evidence.base import NoGathering
    from proxy.server.asgi import Push, Wait
    from proxy.surfaces.contract import Choice, ChoiceReport, Completion, StreamReader, Watch
    from proxy.upstreams.transport import Response

#: The parameters of the wire formats that bound an answer's tokens.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")

#: Finding the words of a text takes ten times as long as reading JSON of that size.
_WORDS_COST = 10


def check(exchange: Exchange) -> None:
    """Refuse what the route does not allow, and find the request's context; raises BadRequest."""
    _find_context(exchange)
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


def _find_context(exchange: Exchange) -> None:
    """What of the request is context; what the route puts around a question is put around both of its forms."""
    _find_passages(exchange)
    route, surface, found = exchange.route, exchange.surface, exchange.found
    if not prompts(route):
        return
    exchange.given = exchange.request
    exchange.request = prompted(route, surface, exchange.request)
    if found is not None and found.without is not None:
        exchange.found = replace(found, without=prompted(route, surface, found.without))


def _find_passages(exchange: Exchange) -> None:
    request, finder = exchange.request, exchange.route.context
    if finder is None:
        if request.context:
            raise BadRequest(
                "idk: this route takes no context; set its rag.context (`request`, for this field alone)",
                param="idk",
            )
        return
    exchange.found = finder.find(exchange.surface, request)
    if exchange.found is not None:
        exchange.context, exchange.request = True, exchange.found.request
    elif finder.tells:
        exchange.context = False


async def answer(exchange: Exchange) -> Judged:
    """Everything up to the verdict that is final, remedies and all; a stream is held to its end.

    Raises HttpError's kinds.
    """
    async with gathering(exchange) as gathered:
        ask, response = await ask_upstream(exchange)
        if exchange.request.stream:
            events = reader(exchange, ask)
            await flow(exchange, events, response, _nowhere)
            return await close_stream(exchange, events, response, gathered)
        try:
            body = await response.read(exchange.bodies.max_answer_bytes)
        finally:
            response.close()
        exchange.answered = perf_counter()
        completion = await exchange.bodies.read_answer(body, exchange.surface.read, ask)
        if len(completion.choices) > exchange.request.n:
            raise UpstreamGarbage("the upstream's answer has more choices than were asked for")
        completion = await gathered.finish(completion)
    finish = partial(exchange.surface.render, exchange.request, ask)
    return await _final(exchange, completion, finish, response)


def gathering(exchange: Exchange) -> Gathering | NoGathering:
    """What gathers the evidence that the answer does not bring itself, while the body of ``async with`` runs."""
    route = exchange.route
    if not route.gatherers or not route.applies(exchange.request):
        return NO_GATHERING
    return Gathering(route.gatherers, exchange)


async def _final(
    exchange: Exchange,
    completion: Completion,
    finish: Callable[[Completion, Verdict], bytes],
    response: Response,
    *,
    cancelled: bool = False,
) -> Judged:
    """The verdict that stands, counted: where the first withholds everything the route's remedies were tried."""
    if exchange.context is not None:
        completion = await exchange.bodies.on_request(
            _reading_cost(exchange), _in_context, exchange, completion
        )
    exchange.tokens = (completion.prompt_tokens or 0) + (completion.completion_tokens or 0)
    verdict = judge(exchange, completion, cancelled=cancelled)
    if exchange.route.lower is not None and any(d.reason == "unmeasured" for d in verdict.decisions):
        exchange.route = exchange.route.lower
        async with gathering(exchange) as gathered:
            completion = await gathered.finish(completion)
        verdict = judge(exchange, completion)
    judged = Judged(exchange, completion, verdict, finish, upstream_headers=response.headers)
    for remedy in exchange.route.remedies:
        if judged.withheld:
            judged = await remedy(judged, answer)
    exchange.completion, exchange.verdict = judged.completion, judged.verdict
    if exchange.counted:
        count(exchange, judged.verdict)
    if exchange.id:
        record(exchange, judged.completion, judged.verdict)
    return judged


def count(exchange: Exchange, verdict: Verdict) -> None:
    """Count what was decided, and what was paid beyond the answer."""
    metrics = exchange.route.metrics
    for decision in verdict.decisions:
        metrics.decided(decision)
    extra = verdict.report.extra
    if extra.calls:
        metrics.extra_tokens("prompt", extra.prompt_tokens)
        metrics.extra_tokens("completion", extra.completion_tokens)


def judge(exchange: Exchange, completion: Completion, *, cancelled: bool = False) -> Verdict:
    """The gate's word on each choice."""
    route, choices = exchange.route, completion.choices
    applies = route.applies(exchange.request)
    decisions = tuple(_decide(exchange, choice, applies=applies) for choice in choices)
    if cancelled:
        # A cut answer is never served, whatever was said of the part that came.
        decisions = tuple(replace(d, decision="abstain", reason="below_threshold") for d in decisions)
    if exchange.over_budget is not None:
        decisions = tuple(
            replace(d, reason="budget", detail=exchange.over_budget) if d.reason == "unmeasured" else d
            for d in decisions
        )
    withheld = frozenset(
        choice.index
        for choice, decision in zip(completion.choices, decisions, strict=True)
        if route.holds and not decision.served and not choice.refusal
    )
    report = Report(
        route=route.name,
        mode=route.config.mode,
        policy=route.policy,
        certified=not route.revoked and _certified(exchange, choices, applies=applies),
        choices=_reported(exchange, choices, decisions, withheld),
        extra=exchange.extra,
    )
    return Verdict(decisions, withheld, report, route.config.abstain_text)


def _reported(
    exchange: Exchange, choices: Sequence[Choice], decisions: Sequence[Decision], withheld: AbstractSet[int]
) -> tuple[ChoiceReport, ...]:
    """The decisions for ``idk.choices``; the sentences of an answer only where it goes out."""
    reports = report_choices(decisions, choices)
    if not exchange.request.verbose:
        return reports
    return tuple(
        report if choice.index in withheld or not is_judged(choice) else _with_sentences(report, choice)
        for report, choice in zip(reports, choices, strict=True)
    )


def _with_sentences(report: ChoiceReport, choice: Choice) -> ChoiceReport:
    found = tuple(Sentence(text, score) for text, score in weakest_first(choice.evidence))
    return msgspec.structs.replace(report, sentences=found) if found else report


def _reading_cost(exchange: Exchange) -> int:
    """Return the size of a body that takes as long to read as the words of the question and its passages."""
    found = exchange.found
    if found is None or not exchange.gate.reads_words:
        return 0
    return _WORDS_COST * (len(found.question or "") + sum(map(len, found.passages)))


def _in_context(exchange: Exchange, completion: Completion) -> Completion:
    """The completion, whose evidence says under which condition it was given."""
    found, words = exchange.found, None
    if found is not None and exchange.gate.reads_words:
        words = words_of(found.question, found.passages)
    choices = tuple(
        msgspec.structs.replace(
            choice,
            evidence=replace(
                choice.evidence, context=exchange.context, rescued=exchange.rescued, words=words
            ),
        )
        for choice in completion.choices
    )
    return msgspec.structs.replace(completion, choices=choices)


def _certified(exchange: Exchange, choices: Sequence[Choice], *, applies: bool) -> bool:
    """Whether a certificate covers every choice; where conditions are known it must be that of its own."""
    gate, threshold = exchange.gate, exchange.request.threshold
    if exchange.context is None:
        return gate.certified(threshold, applies=applies)
    return bool(choices) and all(
        gate.certified(threshold, applies=applies, evidence=choice.evidence) for choice in choices
    )


def _decide(exchange: Exchange, choice: Choice, *, applies: bool) -> Decision:
    gate, threshold, config = exchange.gate, exchange.request.threshold, exchange.route.config
    evidence = choice.evidence
    if choice.refusal or (choice.tool_call and not config.gate_tools):
        limit = gate.limit_for(evidence) if threshold is None else threshold
        said = ("abstain", "upstream_abstained") if choice.refusal else ("answer", "tool_call")
        return Decision(*said, threshold=limit)
    if choice.finish_reason == "length" and config.on_length == "unmeasured":
        evidence = Evidence(evidence.answer, token_logprobs=_CUT_SHORT)
    if not exchange.route.gatherers or "samples" not in gate.needs:
        return gate.decide(evidence, threshold=threshold, applies=applies)
    return decide(
        gate, evidence, config.samples, threshold=threshold, applies=applies, level=config.sampling.level
    )


_CUT_SHORT = Unmeasured("its length limit cut it off")


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
        watching = early_abstention(
            exchange.gate, max_tokens=_most_tokens(exchange), threshold=request.threshold
        )
    return exchange.surface.stream(request, ask, hold=exchange.holds, watch=watching)


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


def _nowhere(data: bytes) -> None:
    raise AssertionError(f"{len(data)} bytes of a stream flowed that was to be held")


async def flow(exchange: Exchange, events: StreamReader, response: Response, out: Push) -> None:
    """Give ``out`` what may go as it comes (nothing while holding), until the stream ends or is settled.

    Raises UpstreamTooLarge over the exchange's ``limit``: the reader keeps what it has read.
    """
    size, limit = 0, exchange.bodies.max_answer_bytes

    def read(data: bytes) -> Wait | None:
        nonlocal size
        size += len(data)
        if size > limit:
            raise too_large(limit)
        return partial(read_apart, data) if events.pending > LARGE_ANSWER else passed(events.feed(data))

    async def read_apart(data: bytes) -> None:
        wait = passed(await exchange.bodies.on_answer(events.pending, events.feed, data))
        if wait is not None:
            await wait()

    def passed(ready: bytes) -> Wait | None:
        if events.settled:
            raise _Settled
        return out(ready) if ready else None

    try:
        with _redacted(exchange):
            await response.pour(in_pieces(read))
    except _Settled:
        pass  # a reader that settles holds: nothing was ready
    finally:
        response.close()
        exchange.answered = perf_counter()
        exchange.received = size


async def close_stream(
    exchange: Exchange, events: StreamReader, response: Response, gathered: Gathering | NoGathering
) -> Judged:
    """The end of the stream: the verdict, and everything that waited for it."""
    cancelled = events.settled
    with _redacted(exchange):
        completion = await exchange.bodies.on_answer(exchange.received, events.completion)
    if cancelled:
        exchange.route.metrics.cancelled("abstained")
    else:
        completion = await gathered.finish(completion)
    finish = partial(events.finish, cancelled=cancelled)
    return await _final(exchange, completion, finish, response, cancelled=cancelled)


def record_times(exchange: Exchange) -> None:
    """Count a request's durations once it is over; what the upstream took is not the proxy's."""
    ended = perf_counter()
    route = exchange.route
    route.metrics.request_s.observe(ended - exchange.started)
    if exchange.asked and exchange.answered:
        upstream = exchange.answered - exchange.asked
        route.upstream_metrics.duration_s.observe(upstream)
        route.metrics.overhead_s.observe(ended - exchange.started - upstream - exchange.waited)
