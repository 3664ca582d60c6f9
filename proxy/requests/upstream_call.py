"""Calls to a route's upstream: for the answer, and for further evidence."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import UpstreamStatus
from proxy.upstreams.abilities import refuses

if TYPE_CHECKING:
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Ask, Completion
    from proxy.upstreams.transport import Response


async def ask_upstream(exchange: Exchange) -> tuple[Ask, Response]:
    """Send the request and return the response with its head read. If the upstream refuses logprobs, ask without."""
    ask = exchange.ask
    exchange.spent.asked = perf_counter()
    while True:
        try:
            return ask, await post(exchange, ask)
        except UpstreamStatus as exc:
            # If the client itself asked for logprobs, it gets the upstream's refusal.
            less = None if exchange.request.logprobs else _with_less(exchange, ask, exc)
            if less is None:
                raise
            ask = less


def _with_less(exchange: Exchange, ask: Ask, exc: UpstreamStatus) -> Ask | None:
    """Return the ask without what was refused, and remember that; None if the proxy did not ask for it."""
    abilities, model = exchange.route.upstream.abilities, exchange.model
    if ask.top_logprobs and refuses(exc, "top_logprobs"):
        abilities.refuse(model, "top_logprobs")
        return msgspec.structs.replace(ask, top_logprobs=0)
    if ask.logprobs and refuses(exc, "logprobs"):
        abilities.refuse(model, "logprobs")
        return msgspec.structs.replace(ask, logprobs=False, top_logprobs=0)
    return None


async def post(exchange: Exchange, ask: Ask) -> Response:
    """Send the request with the additions of ``ask``; raises UpstreamError's kinds."""
    body = await exchange.bodies.on_request(exchange.size, exchange.surface.outgoing, exchange.request, ask)
    upstream = exchange.route.upstream
    return await upstream.post(exchange.surface.path, body, exchange.credentials, fresh=ask.samples > 0)


async def read(exchange: Exchange, response: Response, ask: Ask) -> Completion:
    """Read a whole answer; raises UpstreamError's kinds."""
    try:
        body = await response.read(exchange.bodies.max_answer_bytes)
    finally:
        response.close()
    return await exchange.bodies.read_answer(body, exchange.surface.read, ask)


async def further(exchange: Exchange, ask: Ask) -> Completion:
    """Make one further call, not streamed, and add its cost to the account; raises UpstreamError's kinds."""
    exchange.spent.calls += 1
    completion = await read(exchange, await post(exchange, ask), ask)
    exchange.spent.add_tokens(completion.prompt_tokens, completion.completion_tokens)
    return completion
