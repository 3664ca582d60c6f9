"""A chat's answer in another format: what is no text is the upstream's error, wherever in the answer it stands."""

from __future__ import annotations

import json

import pytest

from tests.fakes import raw, stream

WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"Paris"},"logprobs":{"content":[{"token":"%s","logprob":-0.1}]}}]%s}'
)
PLACES = {"a token": (b"\xff", b""), "the upstream's own idk": (b"Paris", b',"idk":"\xff"')}
ROUTES = {
    "off": {"mode": "off"},
    "observed": {"mode": "observe", "scorers": ["mean_logprob"], "score_threshold": -9.0},
    "enforced": {"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -9.0},
}
ASKED = {
    "/v1/responses": lambda prompt: {"input": prompt},
    "/v1/messages": lambda prompt: {"messages": [{"role": "user", "content": prompt}], "max_tokens": 9},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_what_is_no_utf_8_is_an_upstreams_error(serving, upstream, path, route, place, streams):
    body = WHOLE % PLACES[place]
    if streams:
        delta = body.replace(b'"message"', b'"delta"')
        prompt = upstream.script(stream(b"data: " + delta + b"\n\ndata: [DONE]\n\n"))
    else:
        prompt = upstream.script(raw(body))
    async with serving({"name": "r", **ROUTES[route]}, upstream={"formats": ["chat"]}) as proxy:
        reply = await proxy.ask(path, {"model": "m", "stream": streams, **ASKED[path](prompt)})
    assert b"\xff" not in reply.body
    if reply.status == 200:  # a stream that has begun ends with the error, or is cut where no gate reads it
        told = b'"error"' in reply.body or b"response.failed" in reply.body
        assert told or reply.messages[-1].get("more_body", True)  # the last is the head where no body came
        assert streams or route == "off"
    else:
        assert reply.status == 502
        assert json.loads(reply.body)["error"]["message"]
