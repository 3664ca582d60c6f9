"""The closed-book answer: the same question without its context, asked concurrently with the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.requests.upstream_call import further

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.requests.evidence.gathering import Answer, Fields
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Request

#: Fields that ask for a stream or for several answers, in every wire format.
_MANNER = ("stream", "stream_options", "n")


class ClosedBook:
    """Makes one further call for a request with context; an answer without context is its own closed-book answer."""

    early = True

    async def __call__(self, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
        """Return ``closed_book`` for each choice, the same one for all choices."""
        found = exchange.found
        if found is None:
            return [{"closed_book": choice.evidence} for choice in (await answer.get()).choices]
        if found.without is None:
            return ()
        asked = exchange.another(exchange.route, exchange.surface, plain(found.without), spent=exchange.spent)
        completion = await further(asked, asked.ask)
        closed_book = completion.choices[0].evidence if completion.choices else None
        return [{"closed_book": closed_book} for _ in (await answer.get()).choices]


def plain(request: Request) -> Request:
    """Return the request changed to ask for one answer, not streamed."""
    fields = {name: value for name, value in request.fields.items() if name not in _MANNER}
    return msgspec.structs.replace(request, fields=fields, stream=False, n=1)
