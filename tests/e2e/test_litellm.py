"""A provider with another wire format, through LiteLLM: Anthropic's, played by the fake upstream."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.proxies import Proxy, asking, enforced, events, route, write_config
from tests.fakes import FakeUpstream, held, raw, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES = "/v1/messages"
KEY = "sk-ant-of-the-provider"
TEXT = ("Wzq", "Xkj")
STREAMED = pytest.mark.parametrize("streamed", [False, True])


def message() -> Any:
    """Anthropic's answer (API reference, "Messages")."""
    content = [{"type": "text", "text": "".join(TEXT)}]
    usage = {"input_tokens": 11, "output_tokens": 2}
    return raw(
        json.dumps(
            {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test",
                "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
            }
        ).encode()
    )  # fmt: skip


def message_events() -> Any:
    """Return the message as events (API reference, "Streaming messages")."""
    start = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 1},
    }  # fmt: skip
    said = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in TEXT
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    return stream(*(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in said))


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeUpstream]:
    """A separate fake upstream: every request has the same path."""
    with FakeUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(provider: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("litellm")
    claude = {
        "litellm": "anthropic",
        "base_url": provider.base_url.removesuffix("/v1"),
        "api_key_env": "IDK_TEST_KEY",
        "max_retries": 0,
    }
    config = {
        "upstreams": {"claude": claude},
        "routes": [
            enforced("strict", upstream="claude", model="claude-test"),
            enforced("lenient", upstream="claude", model="claude-test", on_unmeasured="answer"),
            route("observing", "claude", model="claude-test"),
            route("off", "claude", model="claude-test", mode="off"),
        ],
    }
    environ = {**os.environ, "IDK_TEST_KEY": KEY}
    with Proxy("--config", write_config(folder, config), cwd=folder, env=environ) as process:
        yield process


def said(got: Any, *, streamed: bool) -> str:
    if streamed:
        parts = [choice["delta"] for event in events(got) for choice in event["choices"]]
        return "".join(part.get("content") or "" for part in parts)
    content = got.json()["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


@STREAMED
@pytest.mark.parametrize(
    ("model", "text", "decision"),
    [
        ("strict", "I don't know.", "abstain"),
        ("lenient", "WzqXkj", "answer"),
        ("observing", "WzqXkj", "abstain"),
        ("off", "WzqXkj", None),
    ],
)
def test_an_answer_is_translated_and_unmeasured(proxy, provider, model, text, decision, streamed):
    """Anthropic gives no logprobs: what cannot be measured is withheld, or not, as the route says."""
    provider.serve(MESSAGES, message_events() if streamed else message())
    got = proxy.post(asking(model, "What is the capital of France?", stream=streamed, max_tokens=9))
    assert got.status_code == 200, got.text
    assert said(got, streamed=streamed) == text
    if decision is not None:
        report = (events(got)[-1] if streamed else got.json())["idk"]
        assert (report["choices"][0]["decision"], report["choices"][0]["reason"]) == (decision, "unmeasured")
    if text != "WzqXkj":
        assert not any(token in got.text for token in TEXT)
    if not streamed:
        assert got.json()["usage"]["completion_tokens"] == 2


def test_the_provider_is_asked_in_its_own_format(proxy, provider):
    provider.serve(MESSAGES, message())
    secret_fields = {"api_base": "http://127.0.0.1:9", "api_key": "mine", "base_url": "http://127.0.0.1:9"}
    proxy.post(asking("strict", "Hello?", max_tokens=9, temperature=0.5, **secret_fields))
    call = provider.calls(MESSAGES)[-1]
    assert call.headers["x-api-key"] == KEY
    assert call.json["model"] == "claude-test"
    assert (call.json["max_tokens"], call.json["temperature"]) == (9, 0.5)
    assert call.json["messages"][0]["role"] == "user"
    assert "logprobs" not in call.json
    assert "mine" not in call.body.decode()


@STREAMED
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
def test_the_providers_error_is_passed_on(proxy, provider, status, streamed):
    body = {"type": "error", "error": {"type": "some_error", "message": f"it is {KEY} that failed"}}
    provider.serve(MESSAGES, raw(json.dumps(body).encode(), status))
    got = proxy.post(asking("strict", "?", stream=streamed, max_tokens=9))
    assert got.status_code == (500 if status == 529 else status), got.text
    assert set(got.json()["error"]) == {"message", "type", "param", "code"}
    assert KEY not in got.text
    assert str(provider.port) not in got.text


def test_an_answer_that_is_none(proxy, provider):
    provider.serve(MESSAGES, raw(b"<html>"))
    got = proxy.post(asking("strict", "?", max_tokens=9))
    assert 500 <= got.status_code < 600
    assert set(got.json()["error"]) == {"message", "type", "param", "code"}


def test_a_stream_that_is_none_is_no_answer(proxy, provider):
    """LiteLLM makes an empty answer of it, which nothing measures."""
    provider.serve(MESSAGES, raw(b"<html>"))
    got = proxy.post(asking("strict", "?", stream=True, max_tokens=9))
    assert said(got, streamed=True) == "I don't know."


@STREAMED
def test_a_client_that_leaves_cancels_the_provider(proxy, provider, streamed):
    provider.serve(MESSAGES, held())
    before = len(provider.calls(MESSAGES))
    connection = proxy.open(asking("strict", "?", stream=streamed, max_tokens=9))
    call = provider.call(MESSAGES, before)
    connection.close()
    assert call.was_left()


def test_other_paths_have_nowhere_to_go(proxy):
    assert proxy.post({"model": "observing"}, "/v1/embeddings").status_code == 400


def test_no_defect_was_logged(proxy):
    assert "Traceback" not in "".join(proxy.log)
