"""An upstream that tells samples from answers by their temperature, and says of each what a test scripted."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tests.fakes import answer, error, held, says

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes import Call, Reply, Said
    from tests.proxy.upstreams.peer import Peer

#: What routes sample at unless they say otherwise.
SAMPLED_AT = 0.8


def is_sample(call: Call) -> bool:
    return bool(call.json.get("temperature") == SAMPLED_AT)


def telling(
    served: Said | Reply,
    samples: Sequence[str | Said],
    *,
    most: int = 128,
    refuses: str | None = None,
    holds: bool = False,
) -> Reply:
    """``served`` to a request for the answer, and the next of the samples to one for samples.

    ``most`` choices come at one time; a request with the parameter ``refuses`` is refused; with ``holds`` the
    samples wait until the test releases them.
    """
    left = deque(samples)

    async def reply(call: Call, peer: Peer) -> None:
        if not is_sample(call):
            said = served if callable(served) else answer(served)
        elif refuses is not None and refuses in call.json:
            said = error(400, f"unsupported parameter: {refuses}", param=refuses)
        else:
            count = min(call.json.get("n", 1), most)
            texts = [left.popleft() for _ in range(count)]
            said = answer(*[says(text) if isinstance(text, str) else text for text in texts])
            said = held(said) if holds else said
        await said(call, peer)

    return reply
