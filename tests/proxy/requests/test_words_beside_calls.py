"""Text beside a gated tool call is an answer: it is sent only if both the call and the text are sure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import raw, stream

if TYPE_CHECKING:
    from tests.fakes import Reply

ROUTE = {
    "name": "r", "mode": "enforce", "scorers": ["min_logprob"], "score_threshold": -1.0, "gate_tools": True,
}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
WORDS, ARGUMENTS = "Lyon.", '{"a":1}'
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}


def said(of_words: float, of_call: float, *, streamed: bool) -> Reply:
    """Return an answer of the words and the call, whose tokens have these logprobs."""
    tokens = zip((WORDS, ARGUMENTS), (of_words, of_call), strict=True)
    entries = [
        {"token": token, "logprob": value, "bytes": None, "top_logprobs": []} for token, value in tokens
    ]
    ended: dict[str, Any] = {"index": 0, "logprobs": {"content": entries}, "finish_reason": "tool_calls"}
    if not streamed:
        message = {"role": "assistant", "content": WORDS, "tool_calls": [CALL]}
        return raw(json.dumps({"choices": [{**ended, "message": message}]}).encode())
    delta = {"role": "assistant", "content": WORDS, "tool_calls": [{"index": 0, **CALL}]}
    event = json.dumps({"choices": [{**ended, "delta": delta}]}).encode()
    return stream(b"data: " + event + b"\n\n", b"data: [DONE]\n\n")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("of_words", "of_call", "served"), [
    (-0.01, -0.01, True), (-5.0, -0.01, False), (-0.01, -5.0, False),
])  # fmt: skip
async def test_the_less_sure_of_the_two_decides(serving, upstream, of_words, of_call, served, streamed):
    async with serving(ROUTE) as proxy:
        prompt = upstream.script(said(of_words, of_call, streamed=streamed))
        reply = await proxy.chat(prompt, tools=TOOLS, stream=streamed)
    assert reply.status == 200
    assert (WORDS in reply.text) is served
    assert ('"call_1"' in reply.text) is served
