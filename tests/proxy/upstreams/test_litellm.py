"""Other providers through LiteLLM itself, which here translates for a real server on loopback."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from proxy.config import Upstream
from proxy.exceptions import (
    BadRequest,
    ConfigError,
    UpstreamCut,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from proxy.metrics import Metrics
from proxy.upstreams import Access, make_upstream
from proxy.upstreams.litellm import ALLOWED
from tests.fakes import FakeUpstream, answer, error, held, says

#: LiteLLM and its libraries emit warnings at import and use, which the project cannot fix.
pytestmark = pytest.mark.filterwarnings("ignore")

CHAT = "/chat/completions"


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream() as server:
        yield server


@pytest.fixture
def client(upstream):
    return make(upstream.base_url)


def make(base_url, **fields):
    """OpenAI's own format is the one provider that a fake upstream speaks."""
    config = Upstream(
        litellm="openai",
        base_url=base_url,
        api_key_env="K",
        **{"max_retries": 0, "timeout_s": 10.0, **fields},
    )
    return make_upstream("u", config, Access(config.base_url, "sekret"), Metrics().upstream("u"))


def body(prompt, **fields):
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}).encode()


async def read(response, limit=100_000):
    try:
        return await response.read(limit)
    finally:
        response.close()


async def test_a_whole_answer_looks_like_openais(client, upstream):
    prompt = upstream.script(answer(says("Par", "is")))
    found = json.loads(await read(await client.post(CHAT, body(prompt, logprobs=True), None)))
    assert found["choices"][0]["message"]["content"] == "Paris"
    assert [token["token"] for token in found["choices"][0]["logprobs"]["content"]] == ["Par", "is"]
    assert upstream.call(prompt).headers["authorization"] == "Bearer sekret"


async def test_so_does_a_stream(client, upstream):
    prompt = upstream.script(answer(says("Par", "is")))
    response = await client.post(CHAT, body(prompt, stream=True), None)
    events = [event async for event in response.chunks()]
    response.close()
    assert events[-1] == b"data: [DONE]\n\n"
    deltas = [json.loads(event[6:])["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
    assert "".join(deltas) == "Paris"
    assert (response.status, response.headers) == (200, ())


async def test_a_clients_other_fields_stay_behind(client, upstream):
    prompt = upstream.script(answer(says("x")))
    taken = {
        "api_base": "http://127.0.0.1:9/",
        "api_key": "theirs",
        "base_url": "x",
        "mock_response": "y",
        "seed": 3,
    }
    assert not {"api_base", "api_key", "base_url", "mock_response", "model"} & ALLOWED
    await read(await client.post(CHAT, body(prompt, **taken), None))
    call = upstream.call(prompt)
    assert call.json["seed"] == 3
    assert not {"api_base", "api_key", "mock_response"} & set(call.json)
    assert call.headers["authorization"] == "Bearer sekret"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_a_providers_error_keeps_its_status_and_hides_the_key(client, upstream, status):
    prompt = upstream.script(error(status, "the key sekret is wrong"))
    with pytest.raises(UpstreamStatus) as raised:
        await client.post(CHAT, body(prompt), None)
    assert raised.value.http_status == status
    assert "sekret" not in raised.value.message
    assert "the key [redacted] is wrong" in raised.value.message


async def test_a_passing_failure_is_tried_again(upstream):
    prompt = upstream.script(error(503, "busy"), answer(says("x")))
    client = make(upstream.base_url, max_retries=1)
    assert b'"x"' in await read(await client.post(CHAT, body(prompt), None))
    assert len(upstream.calls(prompt)) == 2


async def test_a_provider_that_cannot_be_reached():
    with pytest.raises(UpstreamError) as raised:
        await make("http://127.0.0.1:9/v1").post(CHAT, body("?"), None)
    assert raised.value.http_status >= 500
    assert "127.0.0.1" not in raised.value.message


async def test_a_provider_that_does_not_answer_in_time(upstream):
    prompt = upstream.script(held())
    with pytest.raises(UpstreamTimeout) as raised:
        await make(upstream.base_url, timeout_s=0.1).post(CHAT, body(prompt), None)
    assert raised.value.http_status == 504
    assert await asyncio.to_thread(upstream.call(prompt).was_left)


async def test_an_answer_may_be_passed_on_as_it_comes_or_read_at_once(client, upstream):
    prompt = upstream.script(answer(says("Paris")))
    whole = await client.post(CHAT, body(prompt), None)
    assert b"Paris" in b"".join([piece async for piece in whole.chunks()])
    whole.close()
    streamed = await client.post(CHAT, body(prompt, stream=True), None)
    assert (await read(streamed)).endswith(b"data: [DONE]\n\n")
    streamed.close()  # again


async def test_a_stream_that_is_left_is_cancelled_at_the_provider(client, upstream):
    prompt = upstream.script(answer(says("a", "b"), stop_at=2))
    response = await client.post(CHAT, body(prompt, stream=True), None)
    async for _ in response.chunks():
        break
    response.close()
    assert await asyncio.to_thread(upstream.call(prompt).was_left)


async def test_a_stream_that_is_cut(client, upstream):
    prompt = upstream.script(answer(says("a", "b"), stop_at=2, then="cut"))
    response = await client.post(CHAT, body(prompt, stream=True), None)
    with pytest.raises(UpstreamCut):
        await read(response)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_over_the_limit(client, upstream, streamed):
    prompt = upstream.script(answer(says("x" * 500)))
    response = await client.post(CHAT, body(prompt, stream=streamed), None)
    with pytest.raises(UpstreamTooLarge):
        await read(response, limit=100)


async def test_only_chat_completions_can_be_translated(client):
    with pytest.raises(BadRequest, match="chat completions only"):
        await client.post("/embeddings", b"{}", None)
    with pytest.raises(BadRequest, match="chat completions only"):
        await client.relay("GET", "/files", [], b"", None)
    assert client.redact("sekret") == "[redacted]"
    await client.aclose()


def test_without_the_library_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ConfigError, match=r"pip install 'idk-proxy\[litellm\]'"):
        make("http://127.0.0.1:9/v1")
