"""Samples in every format: at the route's own sampling, and all tokens in the usage that the client sees."""

from __future__ import annotations

import json

import pytest

from tests.fakes import raw

RULE = {"scorers": ["agreement"], "score_threshold": 0.5, "mode": "enforce", "samples": 2}
RESPONSE = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "m",
    "output": [
        {
            "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Paris", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8},
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Paris"}], "usage": {"input_tokens": 7, "output_tokens": 1},
}  # fmt: skip
ASKS = {
    "/v1/responses": {"model": "m", "input": "Capital?"},
    "/v1/messages": {
        "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Capital?"}]
    },
}  # fmt: skip


def sse(*events):
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def streamed(path):
    if path == "/v1/responses":
        return sse({"type": "response.completed", "sequence_number": 0, "response": RESPONSE})
    start = {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 7, "output_tokens": 0}}
    return sse(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )


def script(upstream, path):
    whole = {"/v1/responses": RESPONSE, "/v1/messages": MESSAGE}[path]

    async def reply(call, peer):
        stream = call.json.get("stream")
        body = streamed(path) if stream else json.dumps(whole).encode()
        headers = {"content-type": "text/event-stream" if stream else "application/json"}
        await raw(body, headers=headers)(call, peer)

    upstream.serve(path, reply)


def usage_of(got, *, stream):
    if not stream:
        return got.json["usage"]
    payloads = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: {")]
    (told,) = [each for each in payloads if "idk" in each or "idk" in each.get("response", {})]
    return told.get("usage") or told["response"]["usage"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ASKS)
async def test_every_token_is_counted(serving, upstream, path, stream):
    script(upstream, path)
    formats = {"formats": [path.removeprefix("/v1/")]}
    async with serving({"name": "r", **RULE}, upstream=formats) as running:
        before = len(upstream.calls(path))
        got = await running.ask(path, {**ASKS[path], "stream": stream, "temperature": 0.1, "top_p": 0.2})
        assert "Paris" in got.text
        usage = usage_of(got, stream=stream)
        assert (usage["input_tokens"], usage["output_tokens"]) == (21, 3)
        samples = [call.json for call in upstream.calls(path)[before:] if call.json.get("temperature") == 0.8]
        assert len(samples) == 2
        assert all("top_p" not in sample and not sample.get("stream") for sample in samples)
