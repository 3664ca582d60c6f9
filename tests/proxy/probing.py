"""Replies of a fake upstream to the proxy's probes, and waiting for what the proxy learns from them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxy.upstreams.probes import QUESTION
from tests.fakes import DEADLINE_S, answer, error, says

if TYPE_CHECKING:
    from tests.fakes import Call, FakeUpstream
    from tests.proxy.upstreams.peer import Peer


def probe_replies(upstream: FakeUpstream, without: str) -> None:
    """Script the upstream's replies to the proxy's probes: it refuses the parameter ``without``."""

    async def reply(call: Call, peer: Peer) -> None:
        refused = without in call.json
        await (error(400, f"{without}: no") if refused else answer(says("{}")))(call, peer)

    upstream.script(reply, prompt=QUESTION)


async def learns(running: Any, ability: str) -> None:
    """Wait until the proxy's probe has found that the upstream ``u`` lacks ``ability``."""
    async with asyncio.timeout(DEADLINE_S):
        while running.count("idk_upstream_abilities", upstream="u", ability=ability) != 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
