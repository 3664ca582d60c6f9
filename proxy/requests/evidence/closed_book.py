"""The closed-book answer: the same question without its context, asked beside the answer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.requests.upstream_call import further

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.requests.evidence.gathering import Answer, Fields
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Request

#: How a request asks for a stream or for several answers, in every wire format that does.
_MANNER = ("stream", "stream_options", "n")


class ClosedBook:
    """One further call for a request with context; an answer without any is its own closed-book answer."""

    early = True

    async def __call__(self, exchange: Exchange, answer: Answer) -> Sequence[Fields]:
        """``closed_book`` for each choice, the same one for all of them."""
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
    """The request for one whole answer."""
    fields = {name: value for name, value in request.fields.items() if name not in _MANNER}
    return msgspec.structs.replace(request, fields=fields, stream=False, n=1)
