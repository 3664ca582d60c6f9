"""Calls to a route's upstream: for the answer, and for further evidence."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.exceptions import UpstreamGarbage, UpstreamStatus
from proxy.surfaces.vendor_errors import as_status, read_error, reported_error
from proxy.upstreams.abilities import is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Ask, Completion
    from proxy.upstreams.abilities import Ability
    from proxy.upstreams.transport import Response

#: The most bytes in which an error is looked for.
_ERROR_BYTES: Final = 65_536


async def ask_upstream(exchange: Exchange) -> tuple[Ask, Response]:
    """Return the upstream's response, and what it was asked for.

    If the upstream refuses a request with logprobs that the client did not ask for, the request is sent again without
    them. A retry that succeeds makes the upstream's abilities suspect; it proves nothing about other requests.
    """
    ask = exchange.ask
    exchange.spent.asked = perf_counter()
    exchange.spent.with_logprobs = ask.logprobs
    try:
        return ask, await post(exchange, ask)
    except UpstreamStatus as exc:
        if exchange.request.logprobs or not is_refusal(exc):
            raise
        for ability, less in _with_less(ask):
            try:
                response = await post(exchange, less)
            except UpstreamStatus:
                continue
            exchange.spent.with_logprobs = less.logprobs
            exchange.suspect(ability, ask, less)
            return less, response
        raise


def _with_less(ask: Ask) -> Iterator[tuple[Ability, Ask]]:
    """Yield the parameters that can be left out of a refused request, each with the request that is left."""
    if ask.logprobs and ask.top_logprobs:
        yield "top_logprobs", msgspec.structs.replace(ask, top_logprobs=0)
    if ask.logprobs:
        yield "logprobs", msgspec.structs.replace(ask, logprobs=False, top_logprobs=0)


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
    return await read_answer(exchange, body, ask)


async def read_answer(exchange: Exchange, body: bytes, ask: Ask) -> Completion:
    """Read the body of an answer; raises UpstreamError's kinds.

    Some servers report an error with status 200: where the body is no answer, an error in it is raised as such.
    """
    try:
        completion = await exchange.bodies.read_answer(body, exchange.surface.read, ask)
    except UpstreamGarbage:
        error = read_error(body[:_ERROR_BYTES])
        if error is None or error.message is None:
            raise
        raise _redacted(exchange, as_status(error, error.message)) from None
    except UpstreamStatus as exc:
        raise _redacted(exchange, exc) from None
    error = reported_error(body[:_ERROR_BYTES]) if completion.choices[0].missing else None
    if error is not None:
        raise _redacted(exchange, as_status(error, "the upstream answered with an error"))
    return completion


def _redacted(exchange: Exchange, exc: UpstreamStatus) -> UpstreamStatus:
    """Remove the upstream's secrets from its message."""
    exc.message = exchange.route.upstream.redact(exc.message)
    return exc


async def further(exchange: Exchange, ask: Ask) -> Completion:
    """Make one further call, not streamed, and add its cost to the account.

    Raises UpstreamError's kinds, UpstreamGarbage among them if the answer has no choice.
    """
    exchange.spent.calls += 1
    completion = await read(exchange, await post(exchange, ask), ask)
    if completion.choices[0].missing:
        raise UpstreamGarbage("the upstream's answer has no choice")
    exchange.spent.add_tokens(completion.prompt_tokens, completion.completion_tokens)
    return completion
