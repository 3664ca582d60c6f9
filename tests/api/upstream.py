"""An upstream that answers whatever it is asked: surely or not, with a call, a refusal, or cut short.

What it says follows from the request alone, so that one run is as the other.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.fakes import answer, calls_tool, error, raw, says

if TYPE_CHECKING:
    from tests.fakes import Call, Reply, Said
    from tests.proxy.upstreams.peer import Peer

#: Stands in every answer that an enforcing route must withhold, and nowhere else.
WITHHELD: Final = "Kalamazoo"
#: So many choices at most: enough to tell several from one.
_MOST: Final = 4
_SAID: Final = (
    says("Par", "is", logprob=-0.01),
    says(WITHHELD, "!", logprob=-3.0),
    says("Par", "is", logprob=-0.01, finish_reason="length"),
    says(message={"content": None, "refusal": "I cannot help with that."}),
    says("I", " don't", " know", ".", logprob=-0.02),
)
_CALL: Final = calls_tool("weather", '{"city": "Paris"}')
_EMBEDDING: Final = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
    "model": "fake",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}
#: In what a request for samples differs from the one for the answer.
_SAMPLING: Final = frozenset(
    (
        "n",
        "temperature",
        "stream",
        "stream_options",
        "logprobs",
        "top_logprobs",
        "max_tokens",
        "seed",
        "store",
    )
)
#: The older completions have neither calls nor refusals.
_TEXTS: Final = _SAID[:3]


def _number(request: Any) -> int:
    """Choose the text of an answer; two thirds of the requests get the same text as their samples."""
    same = zlib.crc32(json.dumps({name: request[name] for name in request if name not in _SAMPLING}).encode())
    return same if same % 3 else zlib.crc32(json.dumps(request).encode())


def _saying(call: Call) -> Reply:
    path, request = call.path.partition("?")[0], json.loads(call.body)
    number = _number(request)
    if path == "/v1/embeddings":
        return raw(json.dumps(_EMBEDDING).encode())
    if path == "/v1/completions":
        choices: list[Said] = [_TEXTS[(number + n) % len(_TEXTS)] for n in range(_asked(request))]
    elif request.get("tools") and number % 3 == 0:
        choices = [_CALL]
    else:
        n = 1 if path == "/v1/responses" else _asked(request)
        choices = [_SAID[(number + place) % len(_SAID)] for place in range(n)]
    return answer(*choices)


def _asked(request: Any) -> int:
    prompt = request.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return min((request.get("n") or 1) * (len(prompt) if several else 1), _MOST)


class Anything:
    """A ``Reply`` to anything. What no vendor would take is refused, as a vendor does."""

    def __init__(self) -> None:
        #: How often which path was asked, streaming (True) and not.
        self.asked: Counter[tuple[str, bool]] = Counter()

    async def __call__(self, call: Call, peer: Peer) -> None:
        try:
            reply = _saying(call)
            self.asked[call.path, call.json.get("stream") is True] += 1
        except (ValueError, TypeError, AttributeError) as exc:
            reply = error(400, f"the request cannot be read: {exc}")
        await reply(call, peer)
