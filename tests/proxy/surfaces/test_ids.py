"""The id by which a client may give feedback, and the model that answered, on every surface."""

from __future__ import annotations

import json

import pytest

from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Ask

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


ASK = Ask(None, {}, logprobs=False, top_logprobs=0)


@pytest.mark.parametrize("name", SURFACES)
def test_the_answers_id_and_model_are_read(name):
    body = json.dumps({"id": f"{name}-1", "model": "gpt-2030", **ANSWERS[name]}).encode()
    read = SURFACES[name].read(body, ASK)
    assert (read.id, read.model) == (f"{name}-1", "gpt-2030")


@pytest.mark.parametrize("model", [None, 7, "", {"a": []}])
@pytest.mark.parametrize("name", SURFACES)
def test_an_answer_is_as_good_without_a_model(name, model):
    body = json.dumps({"model": model, **ANSWERS[name]}).encode()
    assert SURFACES[name].read(body, ASK).model is None


def test_a_streams_id_that_is_no_text_is_none():
    request = SURFACES["messages"].parse(
        b'{"model": "m", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "?"}]}'
    )
    reader = SURFACES["messages"].stream(request, ASK, hold=True, watch=None)
    message = {"id": {}, "model": [], **ANSWERS["messages"], "content": []}
    reader.feed(f"data: {json.dumps({'type': 'message_start', 'message': message})}\n\n".encode())
    reader.feed(b'data: {"type": "message_stop"}\n\n')
    assert (reader.completion().id, reader.completion().model) == (None, None)


class Settled:
    """A watch whose verdict is settled."""

    settled = True

    def add(self, logprobs):
        """Whatever comes."""


def test_an_answer_that_was_left_early_has_them_too():
    request = SURFACES["responses"].parse(b'{"model": "m", "stream": true, "input": "?"}')
    reader = SURFACES["responses"].stream(request, ASK, hold=True, watch=Settled)
    event = {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-2030"}}
    reader.feed(f"data: {json.dumps(event)}\n\n".encode())
    assert reader.settled
    assert (reader.completion().id, reader.completion().model) == ("resp_1", "gpt-2030")
