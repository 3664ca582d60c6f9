"""The path of a gated request: ask the upstream, gather the evidence, judge it, and render the response.

The pipeline knows no wire format (surfaces do) and no HTTP server (``proxy.gateway.endpoint`` does).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gating.early import early_abstention
from gating.relatedness import words_of
from gating.sampled import decide
from gating.scorers.agreement import weakest_first
from gating.types import Decision, Evidence, Unmeasured
from proxy.exceptions import BadRequest, UpstreamGarbage, UpstreamStatus
from proxy.requests.evidence.gathering import Gathering, is_judged
from proxy.requests.exchange import Outcome
from proxy.requests.fields import label_of
from proxy.requests.matching import MATCHES, match_of, match_of_answer, with_policys_values
from proxy.requests.upstream_call import ask_upstream, read_answer
from proxy.server.bodies import LARGE_ANSWER, in_pieces
from proxy.surfaces.contract import NOTHING_MORE, Report, Sentence, Verdict, report_choices
from proxy.surfaces.tokens import MALFORMED
from proxy.upstreams.encoding import too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractAsyncContextManager

    from proxy.requests.evidence.gathering import Gatherer
    from proxy.requests.exchange import Exchange
    from proxy.requests.matching import Match
    from proxy.requests.route import Route
    from proxy.server.asgi import Push, Wait
    from proxy.surfaces.contract import Ask, Choice, ChoiceReport, Completion, EarlyVerdict, StreamReader
    from proxy.upstreams.transport import Response

#: The parameters of the wire formats that bound an answer's tokens.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")

#: Finding the words of a text takes ten times as long as reading JSON of that size.
_WORDS_COST = 10

#: The field of ``Evidence`` that is empty if the upstream did not give what a scorer needs.
_GIVEN: Final = (
    ("logprobs", "token_logprobs"),
    ("top_logprobs", "token_logprobs"),
    ("p_true", "p_true"),
    ("verbalised", "verbalised"),
    ("closed_book", "closed_book"),
    ("embeddings", "embeddings"),
    ("meanings", "meanings"),
)
_NOTHING_TO_GATHER = nullcontext()
_CUT_SHORT = Unmeasured("its length limit cut it off")


class Remedy(Protocol):
    """A way to another answer when a whole answer is withheld. One object serves all requests of a route."""

    async def __call__(self, outcome: Outcome, pipeline: Pipeline) -> Outcome:
        """Return what is sent in place of ``outcome``, which is withheld whole.

        ``pipeline`` is the one that withheld it. The remedy's own exchanges are ``held``. If an upstream fails,
        the abstention is returned; nothing is raised.
        """
        ...


class Recorder(Protocol):
    """Keeps the decisions, and draws the audit sample."""

    def drawn(self, share: float) -> bool:
        """Return whether the next request is in the audit sample."""
        ...

    def record(self, exchange: Exchange, completion: Completion, verdict: Verdict) -> None:
        """Queue one judged request for the store; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One route with the services that work on its requests.

    ``gatherers`` bring the evidence that the gate needs beyond the answer's own logprobs. ``remedies`` are tried in
    their order when the gate withholds a whole answer. ``lower`` judges what this route's gate cannot measure.
    """

    route: Route
    gatherers: tuple[Gatherer, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    lower: Pipeline | None = None
    recorder: Recorder | None = None

    def prepare(self, exchange: Exchange) -> Exchange:
        """Return the exchange with its context found and the route's additions to the prompt made.

        Raises BadRequest if the route does not allow the request.
        """
        route, request = self.route, exchange.request
        if route.context is not None or request.context:
            exchange = _with_passages(exchange)
        exchange = self.matched(exchange)
        request = exchange.request
        if route.adds_to_prompt:
            exchange = _with_additions(exchange)
        if request.ungateable is not None and route.holds:
            raise BadRequest(
                f"{request.ungateable}; this route withholds what it cannot measure",
                code="ungateable",
                param=request.ungateable.partition(":")[0],
            )
        if request.threshold is not None:
            _check_threshold(exchange)
        return exchange if not self.remedies else msgspec.structs.replace(exchange, usage=True)

    def matched(self, exchange: Exchange) -> Exchange:
        """Return the exchange with its match, and with the policy's sampling fields where those replace its own."""
        if not self.route.compares:
            return msgspec.structs.replace(exchange, match=MATCHES)
        without = None if exchange.found is None else exchange.found.without
        match = match_of(self.route, exchange.request, exchange.surface.name, without)
        if not match.replaced:
            return msgspec.structs.replace(exchange, match=match)
        found = exchange.found
        if found is not None and found.without is not None:
            found = replace(found, without=with_policys_values(found.without, match))
        given = None if exchange.given is None else with_policys_values(exchange.given, match)
        request = with_policys_values(exchange.request, match)
        return msgspec.structs.replace(exchange, match=match, request=request, found=found, given=given)

    async def answer(self, exchange: Exchange) -> Outcome:
        """Return the answer with its final verdict, after all remedies; a stream is held to its end.

        Raises HttpError's kinds.
        """
        if exchange.match is None:
            exchange = self.matched(exchange)
        async with self.gathering(exchange) as gathered:
            ask, response = await ask_upstream(exchange)
            if exchange.request.stream:
                events = self.reader(exchange, ask)
                await flow(exchange, events, response, _nowhere)
                return await self.close_stream(exchange, events, response, gathered)
            try:
                body = await response.read(exchange.bodies.max_answer_bytes)
            finally:
                response.close()
            exchange.spent.answered = perf_counter()
            completion = await read_answer(exchange, body, ask)
            _check_choices(exchange, completion)
            if gathered is not None:
                completion = await gathered.finish(completion)
        finish = partial(exchange.surface.render, exchange.request, ask)
        return await self._final(exchange, completion, finish, response)

    def gathering(self, exchange: Exchange) -> AbstractAsyncContextManager[Gathering | None]:
        """Return the context manager that gathers the evidence which the answer does not bring itself."""
        if not self.gatherers or not match_in(exchange).applies:
            return _NOTHING_TO_GATHER
        return Gathering(self.gatherers, exchange)

    def reader(self, exchange: Exchange, ask: Ask) -> StreamReader:
        """Return a reader of the upstream's events, which holds them if the route enforces."""
        route, request = self.route, exchange.request
        watching: Callable[[], EarlyVerdict] | None = None
        # Words before a tool call are no answer: with tools on offer the end must be seen.
        wanted = request.tools or exchange.drawn
        if route.holds and ask.logprobs and not wanted and match_in(exchange).applies:
            watching = early_abstention(
                exchange.gate, max_tokens=_most_tokens(exchange), threshold=request.threshold
            )
        return exchange.surface.stream(request, ask, hold=exchange.holds, watch=watching)

    async def close_stream(
        self,
        exchange: Exchange,
        events: StreamReader,
        response: Response,
        gathered: Gathering | None,
    ) -> Outcome:
        """Return the verdict at the end of a stream, with everything that waited for it."""
        cancelled = events.settled
        with _redacted(exchange):
            completion = await exchange.bodies.on_answer(exchange.spent.received, events.completion)
        if cancelled:
            self.route.metrics.cancelled("abstained")
        else:
            _check_choices(exchange, completion)
            if gathered is not None:
                completion = await gathered.finish(completion)
        finish = partial(events.finish, cancelled=cancelled)
        return await self._final(exchange, completion, finish, response, cancelled=cancelled)

    async def _final(
        self,
        exchange: Exchange,
        completion: Completion,
        finish: Callable[[Completion, Verdict], bytes],
        response: Response,
        *,
        cancelled: bool = False,
    ) -> Outcome:
        """Judge the answer, try the remedies if all of it is withheld, then count and record the verdict."""
        if exchange.context is not None:
            completion = await exchange.bodies.on_request(
                _reading_cost(exchange), _in_context, exchange, completion
            )
        if self.route.holds and exchange.gate.on_unmeasured == "answer":
            await exchange.learn()
        exchange.spent.answer_tokens = (completion.prompt_tokens or 0) + (completion.completion_tokens or 0)
        verdict, judge = self.judge(exchange, completion, cancelled=cancelled), self
        unmeasured = any(d.reason == "unmeasured" for d in verdict.decisions)
        if self.lower is not None and unmeasured and match_in(exchange).applies:
            judge = self.lower
            exchange = judge.matched(msgspec.structs.replace(exchange, route=judge.route))
            async with judge.gathering(exchange) as gathered:
                if gathered is not None:
                    completion = await gathered.finish(completion)
            verdict = judge.judge(exchange, completion)
        outcome = Outcome(exchange, completion, verdict, finish, upstream_headers=response.headers)
        for remedy in judge.remedies:
            if outcome.withheld:
                outcome = await remedy(outcome, judge)
        if exchange.counted:
            count(exchange.route, outcome.verdict, _differing(exchange, completion))
        if exchange.id and judge.recorder is not None:
            judge.recorder.record(exchange, outcome.completion, outcome.verdict)
        if exchange.on_outcome is not None:
            exchange.on_outcome(outcome)
        return outcome

    def judge(self, exchange: Exchange, completion: Completion, *, cancelled: bool = False) -> Verdict:
        """Return the gate's decision on each choice."""
        route, choices = self.route, completion.choices
        if not choices:
            raise UpstreamGarbage(
                "the upstream's answer has no choice that could be judged", code="no_choice"
            )
        matches = _matches(exchange, completion)
        decisions = tuple(
            self._decide(exchange, choice, match) for choice, match in zip(choices, matches, strict=True)
        )
        if cancelled:
            # A cut answer is never served, whatever was said of the part that came.
            decisions = tuple(replace(d, decision="abstain", reason="below_threshold") for d in decisions)
        over_budget = exchange.spent.over_budget
        if over_budget is not None:
            decisions = tuple(
                replace(d, reason="budget", detail=over_budget) if d.reason == "unmeasured" else d
                for d in decisions
            )
        withheld = frozenset(
            choice.index
            for choice, decision in zip(choices, decisions, strict=True)
            if route.holds and not decision.served and not choice.refusal
        )
        report = Report(
            route=route.config.name,
            mode=route.config.mode,
            policy=route.policy,
            certified=not route.revoked
            and all(match.applies and match.certified for match in matches)
            and _certified(exchange, choices),
            choices=_reported(exchange, choices, decisions, withheld),
            extra=exchange.spent.extra if exchange.spent.calls else NOTHING_MORE,
        )
        return Verdict(
            decisions,
            withheld,
            report,
            route.config.abstain_text,
            _with_removed_thoughts(route, choices, withheld),
        )

    def _decide(self, exchange: Exchange, choice: Choice, match: Match) -> Decision:
        """Decide about one choice. An answer that is unmeasured because of the request is never released."""
        decision = self._by_gate(exchange, choice, applies=match.applies)
        if choice.words is not None and decision.served:
            # Text beside a gated call is an answer: the less sure of the two decides.
            words = msgspec.structs.replace(choice, evidence=choice.words, tool_call=False, words=None)
            decision = self._by_gate(exchange, words, applies=match.applies)
        if decision.reason == "unmeasured":
            detail = match.detail if not match.applies else decision.detail
            released = decision.served and match.applies and _upstream_gave_none(choice, exchange)
            return replace(decision, decision="answer" if released else "abstain", detail=detail)
        if match is not MATCHES and decision.reason in ("confident", "below_threshold"):
            return replace(decision, detail=match.detail)
        return decision

    def _by_gate(self, exchange: Exchange, choice: Choice, *, applies: bool) -> Decision:
        gate, threshold = self.route.gate or exchange.gate, exchange.request.threshold
        config = self.route.config
        evidence = choice.evidence
        if exchange.in_doubt:
            gate = replace(gate, on_unmeasured="abstain")
        if choice.unreadable is not None:
            return Decision(
                "abstain", "unmeasured", threshold=gate.limit_for(evidence), detail=choice.unreadable
            )
        if choice.refusal or (choice.tool_call and not config.gate_tools):
            limit = gate.limit_for(evidence) if threshold is None else threshold
            said = ("abstain", "upstream_abstained") if choice.refusal else ("answer", "tool_call")
            return Decision(*said, threshold=limit)
        if choice.finish_reason == "length" and config.on_length == "unmeasured":
            evidence = Evidence(evidence.answer, token_logprobs=_CUT_SHORT)
        if not self.gatherers or "samples" not in gate.needs:
            return gate.decide(evidence, threshold=threshold, applies=applies)
        return decide(
            gate, evidence, config.samples, threshold=threshold, applies=applies, level=config.sampling.level
        )


def _check_choices(exchange: Exchange, completion: Completion) -> None:
    """Raise UpstreamGarbage if a held answer has no choice, or more than were asked for."""
    if not exchange.holds:
        return
    if any(choice.missing for choice in completion.choices):
        raise UpstreamGarbage("the upstream's answer has no choice", code="no_choice")
    if len(completion.choices) > exchange.request.n:
        raise UpstreamGarbage("the upstream's answer has more choices than were asked for")


def _with_removed_thoughts(
    route: Route, choices: Sequence[Choice], withheld: AbstractSet[int]
) -> frozenset[int]:
    """Return the indices of the served choices from which the model's thoughts are removed."""
    if not route.holds or route.config.thoughts == "pass":
        return frozenset()
    return frozenset(choice.index for choice in choices if choice.thoughts and choice.index not in withheld)


def _check_threshold(exchange: Exchange) -> None:
    """Raise BadRequest if the request brings its own threshold and the route does not take one."""
    if not exchange.route.config.allow_override:
        raise BadRequest(
            "idk: this route does not let a request bring its own threshold (allow_override)", param="idk"
        )
    if exchange.gate.limit is None:
        raise BadRequest("idk: a threshold is on the confidence, and this route has no policy", param="idk")


def _with_additions(exchange: Exchange) -> Exchange:
    """Add the route's examples and target to the question, in its forms with and without context."""
    route, surface, found = exchange.route, exchange.surface, exchange.found
    if found is not None and found.without is not None:
        found = replace(found, without=route.prompted(surface, found.without))
    request = route.prompted(surface, exchange.request)
    return msgspec.structs.replace(exchange, given=exchange.request, request=request, found=found)


def _with_passages(exchange: Exchange) -> Exchange:
    """Find the request's passages; raises BadRequest if the request brings some and the route takes none."""
    request, finder = exchange.request, exchange.route.context
    if finder is None:
        raise BadRequest(
            "idk: this route takes no context; set its rag.context (`request`, for this field alone)",
            param="idk",
        )
    found = finder.find(exchange.surface, request)
    if found is not None:
        return msgspec.structs.replace(exchange, found=found, context=True, request=found.request)
    return msgspec.structs.replace(exchange, context=False) if finder.tells else exchange


def match_in(exchange: Exchange) -> Match:
    """Return the match of an exchange that the pipeline has compared."""
    if exchange.match is None:
        raise AssertionError("a request was judged before it was compared with its policy's labels")
    return exchange.match


def _upstream_gave_none(choice: Choice, exchange: Exchange) -> bool:
    """Return whether evidence is missing on the upstream's side, and the answer's text was read completely.

    Malformed logprobs count as missing. Logprobs that can be read but not used, a length limit, several prompts in one
    request, and words beside a tool call do not: the client's request may have caused them.
    """
    evidence, needs = choice.evidence, exchange.gate.needs
    complete = choice.finish_reason != "length" and exchange.request.prompts == 1
    too_few_samples = "samples" in needs and len(evidence.samples) < exchange.route.config.samples
    missing = any(getattr(evidence, field) is None for need, field in _GIVEN if need in needs)
    missing = missing or evidence.token_logprobs == MALFORMED
    return complete and (missing or too_few_samples)


def _differing(exchange: Exchange, completion: Completion) -> set[str]:
    """Return the fields in which the request or its answer differs from the policy's labels, as labels of metrics."""
    if exchange.match is MATCHES:
        return set()
    return {label_of(each.field) for found in _matches(exchange, completion) for each in found.differences}


def _matches(exchange: Exchange, completion: Completion) -> list[Match]:
    """Return the match of each choice, with what only the answer shows."""
    if exchange.match is MATCHES:
        return [MATCHES] * len(completion.choices)
    match = match_in(exchange)
    return [
        match_of_answer(exchange.route, match, completion, cut=choice.finish_reason == "length")
        for choice in completion.choices
    ]


def count(route: Route, verdict: Verdict, differing: AbstractSet[str] = frozenset()) -> None:
    """Count the decisions, the tokens of further calls, and the fields in which the request differs."""
    metrics = route.metrics
    for label in differing:
        metrics.unmatched(label)
    for decision in verdict.decisions:
        metrics.decided(decision)
    extra = verdict.report.extra
    if extra.calls:
        metrics.extra_tokens("prompt", extra.prompt_tokens)
        metrics.extra_tokens("completion", extra.completion_tokens)


def _reported(
    exchange: Exchange, choices: Sequence[Choice], decisions: Sequence[Decision], withheld: AbstractSet[int]
) -> tuple[ChoiceReport, ...]:
    """Return the decisions for ``idk.choices``, with the sentences of answers that are sent."""
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
    """Return the completion with the condition of its answers (with context, without, rescued) in their evidence."""
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


def _certified(exchange: Exchange, choices: Sequence[Choice]) -> bool:
    """Return whether a certificate covers every choice: its condition's own, if the route knows conditions."""
    gate, threshold = exchange.route.gate or exchange.gate, exchange.request.threshold
    if exchange.context is None:
        return gate.certified(threshold)
    return bool(choices) and all(gate.certified(threshold, evidence=choice.evidence) for choice in choices)


def _most_tokens(exchange: Exchange) -> int | None:
    """Return the most tokens that the answer can have. The route's parameters replace the client's."""
    params = exchange.route.config.params
    limits = [int(params[name]) for name in _LIMITS if name in params]
    return max([*limits, exchange.request.max_tokens or 0]) or None


@contextmanager
def _redacted(exchange: Exchange) -> Iterator[None]:
    """Remove secrets from an error that the upstream sends in place of its answer, or inside a stream."""
    try:
        yield
    except UpstreamStatus as exc:
        message = exchange.route.upstream.redact(exc.message)
        raise UpstreamStatus(
            message, status=exc.http_status, type=exc.error_type, param=exc.param, code=exc.code
        ) from None


class _Settled(Exception):
    """Stops reading a stream whose remaining events cannot change the verdict."""


def _nowhere(data: bytes) -> None:
    raise AssertionError(f"{len(data)} bytes of a stream flowed that was to be held")


async def flow(exchange: Exchange, events: StreamReader, response: Response, out: Push) -> None:
    """Pass the events on to ``out`` (none while holding), until the stream ends or its verdict is settled.

    Raises UpstreamTooLarge if the stream exceeds the limit on answers: the reader keeps all that it reads.
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
        exchange.spent.answered = perf_counter()
        exchange.spent.received = size


def record_times(exchange: Exchange) -> None:
    """Count a request's durations once it is over; the upstream's time is not counted as the proxy's."""
    ended = perf_counter()
    route, spent = exchange.route, exchange.spent
    route.metrics.request_s.observe(ended - spent.started)
    if spent.asked and spent.answered:
        upstream = spent.answered - spent.asked
        route.upstream_metrics.duration_s.observe(upstream)
        route.metrics.overhead_s.observe(ended - spent.started - upstream - spent.waited)
