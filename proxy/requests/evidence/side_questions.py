"""Questions about an answer, which the proxy asks the route's model, or another route's, as chat completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import UpstreamGarbage
from proxy.requests.evidence.budget import check_question
from proxy.requests.upstream_call import further
from proxy.surfaces.contract import Ask

if TYPE_CHECKING:
    from proxy.requests.evidence.budget import Slots
    from proxy.requests.exchange import Exchange
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Completion, Request, Surface

#: The name of the chat format in ``UpstreamClient.formats``.
_CHAT = "chat"


@dataclass(frozen=True, slots=True)
class SideQuestions:
    """Asks a model short questions at temperature 0, within the budget of the route that needs the answers.

    The model is that of ``route``; None means the route whose request is judged.
    """

    chat: Surface
    slots: Slots
    route: Route | None = None

    async def ask(
        self, exchange: Exchange, completion: Completion, content: str, *, max_tokens: int, tops: int = 0
    ) -> Completion:
        """Return the model's reply to ``content``, with ``tops`` alternatives of each token (0: no logprobs).

        Raises HttpError, OverBudget.
        """
        check_question(exchange, completion)
        route = exchange.route if self.route is None else self.route
        if _CHAT not in route.upstream.formats:
            raise UpstreamGarbage(
                "the upstream takes no chat completions, which questions about an answer need "
                "(upstreams.NAME.formats)"
            )
        model = route.config.model or exchange.request.model
        request = await exchange.bodies.on_request(exchange.size, self._request, model, content)
        aside = exchange.another(route, self.chat, request, spent=exchange.spent)
        ask = Ask(
            model=None,
            params={"temperature": 0.0},
            logprobs=tops > 0,
            top_logprobs=tops,
            alternatives=tops,
            samples=1,
            max_tokens=max_tokens,
        )
        granted = self.slots.take(1)
        try:
            return await further(aside, ask)
        finally:
            self.slots.give(granted)

    def _request(self, model: str, content: str) -> Request:
        body = {"model": model, "messages": [{"role": "user", "content": content}]}
        return self.chat.parse(msgspec.json.encode(body))


async def conversation(exchange: Exchange) -> str:
    """Return the request's messages as text, in their order."""
    return await exchange.bodies.on_request(exchange.size, _conversation, exchange)


def _conversation(exchange: Exchange) -> str:
    said: list[str] = []

    def read(role: str, name: str | None, text: str) -> str:
        said.append(text if role == "user" else f"({name or role}) {text}")
        return text

    exchange.surface.edited(exchange.request, read)
    return "\n\n".join(said)
