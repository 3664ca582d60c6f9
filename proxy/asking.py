"""Asking a route's upstream: for the answer, and for whatever else the gate needs of it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import UpstreamStatus

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.upstreams.transport import Response
    from proxy.wire import Ask, Completion


async def ask_upstream(exchange: Exchange) -> tuple[Ask, Response]:
    """The upstream's answer, its head read. One that refuses logprobs is asked again without, and remembered."""
    upstream = exchange.route.upstream
    ask = exchange.ask
    exchange.asked = perf_counter()
    try:
        return ask, await post(exchange, ask)
    except UpstreamStatus as exc:
        # Where the client itself asked for logprobs, the refusal is its answer.
        if exchange.request.logprobs or not (ask.logprobs and _refuses_logprobs(exc)):
            raise
        upstream.gives_logprobs = False
        ask = msgspec.structs.replace(ask, logprobs=False, top_logprobs=0)
    return ask, await post(exchange, ask)


async def post(exchange: Exchange, ask: Ask) -> Response:
    """Send the request as ``ask`` has it; raises UpstreamError's kinds."""
    body = exchange.surface.outgoing(exchange.request, ask)
    return await exchange.route.upstream.post(exchange.surface.path, body, exchange.credentials)


async def further(exchange: Exchange, ask: Ask) -> Completion:
    """One further call, whole, counted as spent; raises UpstreamError's kinds."""
    response = await post(exchange, ask)
    try:
        body = await response.read(exchange.limit)
    finally:
        response.close()
    completion = exchange.surface.read(body, ask)
    exchange.spending.call(completion.prompt_tokens, completion.completion_tokens)
    return completion


def _refuses_logprobs(exc: UpstreamStatus) -> bool:
    return exc.http_status in (400, 404, 422) and "logprobs" in f"{exc.message} {exc.param}".lower()
