"""The soak's upstream: its prompts say what it answers, so that nothing is kept of hours of calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tests.fake_formats import FORMATS, text_of
from tests.fakes import Call, FakeUpstream, answer, error, raw, says
from tests.faults.upstreams import FAULTS, SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes import Reply
    from tests.proxy.upstreams.peer import Peer

#: A prompt is ``kind number``, or ``fault number name``.
SURE, UNSURE, BLIND, FAULT = "sure", "unsure", "blind", "fault"
RIGHT: Final = "Paris"
EMBEDDED: Final = b'{"object":"list","data":[{"index":0,"embedding":[0.5]}]}'
_CHAT: Final = "/v1/chat/completions"

#: ``blind`` has no logprobs, and its words are no secret: on a route that enforces it is withheld all the same.
_REPLIES: Mapping[str, Reply] = {
    SURE: answer(says("Par", "is", logprob=-0.01)),
    UNSURE: answer(says(*SECRET, logprob=-3.0)),
    BLIND: answer(says(*SECRET, logprobs="null")),
}


class SoakUpstream(FakeUpstream):
    """Answers by the prompt alone."""

    async def _answer(self, peer: Peer) -> None:
        head, body = await peer.request()
        path = head.split(b" ", 2)[1].decode("latin-1")
        await self._watched(Call(path, {}, body), peer, _reply(path, body))


def _reply(path: str, body: bytes) -> Reply:
    if path == "/v1/embeddings":
        return raw(EMBEDDED)
    if path == _CHAT:
        prompt = text_of(json.loads(body)["messages"][-1]["content"])
    elif path in FORMATS:
        prompt = FORMATS[path].prompt(json.loads(body))
    else:
        return error(404, "no such path")
    kind, _, rest = prompt.partition(" ")
    if kind == FAULT:
        return FAULTS[rest.partition(" ")[2]].reply
    return _REPLIES[kind]
