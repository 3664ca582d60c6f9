"""The id by which a client may give feedback, on every surface."""

from __future__ import annotations

import json

import pytest

from proxy.surfaces import SURFACES
from proxy.wire import Ask

ANSWERS = {
    "chat": {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}]},
    "completions": {"choices": [{"index": 0, "finish_reason": "stop", "text": "x"}]},
    "messages": {
        "type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "responses": {
        "object": "response", "status": "completed",
        "output": [{
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "x", "annotations": []}],
        }],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SURFACES)
def test_the_answers_id_is_read(name):
    ask = Ask(None, {}, logprobs=False, top_logprobs=0)
    body = json.dumps({"id": f"{name}-1", **ANSWERS[name]}).encode()
    assert SURFACES[name].read(body, ask).id == f"{name}-1"
