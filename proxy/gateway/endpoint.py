"""The ASGI endpoint of one surface: answers a client's request with a gated answer, a stream of it, or an error."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.exceptions import (
    BadRequest,
    HttpError,
    UpstreamError,
    UpstreamGarbage,
    UpstreamStatus,
    failure_summary,
)
from proxy.gateway import trace_context
from proxy.gateway.event_stream import EventStream
from proxy.gateway.token_meter import estimated
from proxy.requests.deadline import before, deadline_of
from proxy.requests.exchange import Exchange
from proxy.requests.known_errors import shown_to_client
from proxy.requests.pipeline import flow, record_times
from proxy.requests.upstream_call import ask_upstream
from proxy.server import asgi
from proxy.surfaces.contract import Ask
from proxy.upstreams.abilities import TRANSLATED, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.clients.authentication import Caller, Keys
    from proxy.clients.limits import Limits
    from proxy.config import Server
    from proxy.gateway.passthrough import Relay
    from proxy.gateway.tracing import Tracing
    from proxy.requests.exchange import Outcome
    from proxy.requests.pipeline import Pipeline
    from proxy.requests.route import Route, RouteTable
    from proxy.server.asgi import Headers, Push, Receive, Scope, Send
    from proxy.server.bodies import Bodies
    from proxy.surfaces.contract import ChoiceReport, Request, Surface, Verdict

logger = logging.getLogger("idk")

#: A response with more choices has no verdict headers; only several prompts in one request give so many.
_MOST_TOLD = 128
#: Response headers of the upstream that clients receive; all others are dropped.
_PASSED_PREFIXES = (b"x-ratelimit-", b"openai-processing-ms", b"retry-after")
#: Statuses with which an upstream says that it has no such path.
_NO_SUCH_PATH = frozenset({404, 405, 501})
#: A request with nothing added to it.
_PLAIN = Ask(model=None, params={}, logprobs=False, top_logprobs=0)
#: Bytes of a streamed event with one token: a chat completion's chunk without logprobs has 200 to 300.
_EVENT_BYTES = 250


class GatedEndpoint:
    """Answers one path of a surface."""

    def __init__(
        self,
        surface: Surface,
        over_chat: Surface | None,
        routes: RouteTable,
        pipelines: Mapping[str, Pipeline],
        keys: Keys,
        relay: Relay,
        server: Server,
        limits: Limits,
        bodies: Bodies,
        tracing: Tracing | None,
    ) -> None:
        self._surface = surface
        self._over_chat = over_chat
        self._routes = routes
        self._pipelines = pipelines
        self._keys = keys
        self._relay = relay
        self._server = server
        self._limits = limits
        self._bodies = bodies
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = asgi.request_id()
        base = [(b"x-request-id", request_id)]
        try:
            if scope["method"] != "POST":
                base.append((b"allow", b"POST"))
                raise HttpError("use POST", status=405, type="invalid_request_error")
            await self._answer(scope, receive, send, base, request_id)
        except asgi.ClientGone:
            return
        except HttpError as exc:
            await asgi.respond_error(scope, send, exc, base, self._surface.error(exc))

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        base: list[tuple[bytes, bytes]],
        request_id: bytes,
    ) -> None:
        headers = scope["headers"]
        caller = self._keys.caller(headers)
        if caller.limited:
            await self._limits.admit(caller)
        with self._limits.under_way(caller):
            await self._admitted(caller, scope, receive, send, base, request_id)

    async def _admitted(
        self,
        caller: Caller,
        scope: Scope,
        receive: Receive,
        send: Send,
        base: list[tuple[bytes, bytes]],
        request_id: bytes,
    ) -> None:
        headers = scope["headers"]
        body = await self._bodies.receive(receive, headers)
        request = await self._bodies.read_request(body, self._surface.parse)
        route = self._routes.find(request.model, caller, _named_route(headers))
        base.append((b"x-idk-route", route.name.encode()))
        credentials = self._keys.credentials(headers) if route.forwards_credentials else None
        recorder = self._pipelines[route.name].recorder
        exchange = await self._exchange(
            route,
            request,
            body,
            credentials,
            deadline=deadline_of(route.config.deadline_s, headers),
            usage=caller.tokens_per_minute is not None,
            id="" if recorder is None else request_id.decode(),
            key=caller.name,
            drawn=recorder is not None and recorder.drawn(route.config.audit),
        )
        push = asgi.pusher(scope, send)
        client = asgi.CancelOnDisconnect(receive, asgi.leaving(scope))
        share = self._limits.upstream_share(caller, route.upstream.name, 1 + route.config.samples)
        try:
            with share:
                async with client:
                    await self._traced(exchange, headers, body, send, push, base)
        finally:
            if caller.tokens_per_minute is not None:
                await self._limits.used(caller, _tokens(exchange, cut=client.gone))
        if client.gone:
            route.metrics.cancelled("disconnect")
        else:
            record_times(exchange)

    async def _traced(
        self, exchange: Exchange, headers: Headers, body: bytes, send: Send, push: Push, base: Headers
    ) -> None:
        """Answer the request inside its span, or with the client's trace context handed on."""
        try:
            if self._tracing is None:
                trace_context.take(headers)
                await self._served(exchange, body, send, push, base)
            else:
                with self._tracing.span(exchange, headers) as answered:
                    traced = msgspec.structs.replace(exchange, on_outcome=answered)
                    await self._served(traced, body, send, push, base)
        except UpstreamError as exc:
            exchange.route.upstream_metrics.failed(exc.kind)
            raise _shown(exchange, exc) from exc

    async def _exchange(
        self, route: Route, request: Request, body: bytes, credentials: bytes | None, **fields: Any
    ) -> Exchange:
        """Return the exchange in the client's format, or translated if the upstream lacks it; raises BadRequest."""
        surface: Surface = self._surface
        over_chat = self._over_chat
        if not self._speaks(route, request, credentials):
            if over_chat is None or "chat" not in route.upstream.formats:
                raise BadRequest(
                    f"the route's upstream does not speak the format of /v1{surface.path}; "
                    f"use one of {', '.join(sorted(route.upstream.formats))}",
                    code="format_not_spoken",
                )
            request = await self._bodies.on_request(len(body), over_chat.parse, body)
            surface = over_chat
        return Exchange(route, surface, request, credentials, bodies=self._bodies, size=len(body), **fields)

    def _speaks(self, route: Route, request: Request, credentials: bytes | None) -> bool:
        """Return whether the upstream is sent the client's own format."""
        upstream, name = route.upstream, self._surface.name
        if name not in upstream.formats or name not in TRANSLATED:
            return name in upstream.formats
        model, kind = route.config.model or request.model, kind_of(self._surface, request)
        return upstream.abilities.complete or upstream.abilities.accepts(
            model, kind, TRANSLATED[name], credentials
        )

    async def _served(self, exchange: Exchange, body: bytes, send: Send, push: Push, base: Headers) -> None:
        """Answer the request; where the upstream lacks the path, ask it in chat completions.

        The client's request may be what the path refused, so a retry that succeeds is only a suspicion.
        """
        try:
            await self._sent(exchange, send, push, base)
        except UpstreamStatus as exc:
            over_chat = self._over_chat
            if (
                exc.http_status not in _NO_SUCH_PATH
                or over_chat is None
                or self._surface.name not in TRANSLATED
                or exchange.surface is not self._surface
                or "chat" not in exchange.route.upstream.formats
            ):
                raise
            request = await self._bodies.on_request(len(body), over_chat.parse, body)
            again = msgspec.structs.replace(exchange, surface=over_chat, request=request)
            try:
                await self._sent(again, send, push, base)
            except UpstreamStatus:
                raise exc from None
            exchange.route.upstream_metrics.failed(exc.kind)
            exchange.suspect(TRANSLATED[self._surface.name], _PLAIN, _PLAIN, over_chat)

    async def _sent(self, exchange: Exchange, send: Send, push: Push, base: Headers) -> None:
        try:
            if exchange.route.gate is None:
                await self._relay.ungated(exchange, send, push, base)
            elif exchange.request.stream:
                await self._stream(exchange, send, push, base)
            else:
                await self._whole(exchange, send, base)
        except RecursionError as exc:
            raise _too_deep() from exc

    async def _whole(self, exchange: Exchange, send: Send, base: Headers) -> None:
        pipeline = self._pipelines[exchange.route.name]
        exchange = await self._bodies.on_request(exchange.size, pipeline.prepare, exchange)
        async with before(exchange.deadline):
            reply = await pipeline.answer(exchange)
        headers = [*base, asgi.JSON, *verdict_headers(reply.verdict), *passed_on(reply.upstream_headers)]
        body = await self._bodies.on_answer(reply.completion.body, reply.rendered)
        await asgi.respond(send, 200, headers, body)

    async def _stream(self, exchange: Exchange, send: Send, push: Push, base: Headers) -> None:
        pipeline = self._pipelines[exchange.route.name]
        exchange = await self._bodies.on_request(exchange.size, pipeline.prepare, exchange)
        async with pipeline.gathering(exchange) as gathered:
            async with before(exchange.deadline):
                ask, response = await ask_upstream(exchange)
            outcome: Outcome | None = None

            def headers() -> Headers:
                known = verdict_headers(outcome.verdict) if outcome is not None else []
                return [*base, *asgi.EVENT_STREAM, *known, *passed_on(response.headers)]

            with EventStream(send, headers, self._server.keepalive_s, push) as out:
                try:
                    events = pipeline.reader(exchange, ask)
                    async with before(exchange.deadline):
                        await flow(exchange, events, response, out.push)
                        outcome = await pipeline.close_stream(exchange, events, response, gathered)
                    end = await self._bodies.on_answer(exchange.spent.received, outcome.rendered)
                except (HttpError, RecursionError) as exc:
                    if not out.started:
                        raise
                    await self._broken(exchange, out, exc if isinstance(exc, HttpError) else _too_deep())
                    return
                finally:
                    response.close()
                await out.end(end)

    async def _broken(self, exchange: Exchange, out: EventStream, exc: HttpError) -> None:
        """End a stream that has begun with an error."""
        logger.warning("%s: stream ended by an error: %s", exchange.route.name, failure_summary(exc))
        exc = _shown(exchange, exc)
        if isinstance(exc, UpstreamError):
            exchange.route.upstream_metrics.failed(exc.kind)
        await out.end(exchange.surface.error_event(exc))


def _shown(exchange: Exchange, exc: HttpError) -> HttpError:
    """Return the error for the client: on a route that enforces, an upstream's message is shown only if it is known."""
    if isinstance(exc, UpstreamStatus) and exchange.holds:
        return shown_to_client(exc)
    return exc


def _too_deep() -> UpstreamGarbage:
    """Return the error for a RecursionError: the request was parsed, so the answer must be nested too deeply."""
    return UpstreamGarbage("the upstream's answer is nested too deeply")


def _tokens(exchange: Exchange, *, cut: bool) -> int:
    """Return the tokens of a request; estimated for an answer that the upstream did not count, as a cut one."""
    spent = exchange.spent
    if spent.answer_tokens or not (cut or spent.received):
        return spent.tokens
    return spent.tokens + estimated(exchange.size) + spent.received // _EVENT_BYTES


def _named_route(headers: Headers) -> str | None:
    name = asgi.header(headers, b"x-idk-route")
    return None if name is None else name.decode("latin-1")


def passed_on(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    """Return the upstream's headers that the client receives."""
    return ((name, value) for name, value in headers if name.startswith(_PASSED_PREFIXES))


def verdict_headers(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return ``x-idk-decision``, ``-reason`` and ``-confidence``, comma separated for several choices.

    A response with very many choices has none of them: its body contains the verdicts.
    """
    choices = verdict.report.choices
    if len(choices) > _MOST_TOLD:
        return []
    found = [
        (b"x-idk-decision", ",".join(choice.decision for choice in choices).encode()),
        (b"x-idk-reason", ",".join(choice.reason for choice in choices).encode()),
    ]
    if any(choice.confidence is not None for choice in choices):
        found.append((b"x-idk-confidence", ",".join(map(_confidence, choices)).encode()))
    return found


def _confidence(choice: ChoiceReport) -> str:
    return "" if choice.confidence is None else f"{choice.confidence:.4f}"
