"""A bound on the way of one plain chat completion, so that it gets shorter and never longer."""

from __future__ import annotations

from tests.request_path import PACKAGES, Tracer, measure

#: What was reached; lower the numbers when the way gets shorter.
MODULES, MOVES, CALLS = 41, 122, 190


async def test_a_plain_chat_completion_takes_a_short_way():
    way = await measure()
    assert ("proxy.requests.pipeline", "Pipeline.judge") in way.calls
    assert way.modules <= MODULES, f"\n{way}"
    assert way.moves <= MOVES, f"\n{way}"
    assert len(way.calls) <= CALLS, f"\n{way}"


def test_only_functions_of_the_project_are_counted():
    assert [path.rpartition("/")[2] for path in PACKAGES] == ["calibrators", "gating", "proxy"]
    assert Tracer().calls == []
