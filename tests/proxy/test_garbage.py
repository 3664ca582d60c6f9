"""A request's memory is freed with its last reference: what lies in cycles waits, whole, for the garbage collector."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gating import Evidence
from proxy.requests.exchange import Exchange, Outcome
from proxy.surfaces.contract import Completion, Request, Verdict
from proxy.upstreams.http1.response import Http1Response
from tests.fakes import answer, says

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a request and its answer are made of.
KINDS = (Exchange, Outcome, Request, Completion, Evidence, Verdict, Http1Response)
ROUTES = {
    "serves": {"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -10.0},
    "withholds": {"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": 0.0},
    "observes": {"mode": "observe", "scorers": ["mean_logprob"], "score_threshold": 0.0},
    "escalates": {
        "mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": 0.0, "on_low": "escalate",
        "escalate_to": "serves",
    },
}  # fmt: skip


@contextmanager
def in_cycles() -> Iterator[Counter[str]]:
    """Counts what was left in cycles while the body ran, once it is over."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(type(each).__name__ for each in gc.garbage if isinstance(each, KINDS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ROUTES)
async def test_a_request_leaves_no_cycles(serving, upstream, name, stream):
    routes = [{"name": each, "models": [each], **settings} for each, settings in ROUTES.items()]
    async with serving(*routes) as proxy:
        prompt = upstream.script(answer(says("Paris")))
        await proxy.chat(prompt, name, stream=stream)  # what is made once is not a request's
        with in_cycles() as found:
            for _ in range(3):
                reply = await proxy.chat(prompt, name, stream=stream)
            assert reply.status == 200
    assert found == Counter()
