"""Other providers by configuration, each asked and answering in its own format, through LiteLLM or directly."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.proxies import Proxy, asking, route, write_config
from tests.fakes import FakeUpstream, answer, raw, says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import Reply

KEY = "key-of-the-provider"
_TOKENS = (("Par", -0.1), ("is", -0.3))


@dataclass(frozen=True, slots=True)
class Provider:
    """How one is configured, where its requests come, what it answers, and whether its logprobs come through."""

    upstream: dict[str, Any]
    path: str
    reply: Reply
    measured: bool
    #: Where its key is sent.
    key: tuple[str, str]


def _json(value: Any) -> Reply:
    return raw(json.dumps(value).encode())


_GEMINI = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "Paris"}]},
            "finishReason": "STOP",
            "index": 0,
            "avgLogprobs": -0.2,
            "logprobsResult": {
                "chosenCandidates": [{"token": token, "logProbability": value} for token, value in _TOKENS],
                "topCandidates": [
                    {"candidates": [{"token": token, "logProbability": value}]} for token, value in _TOKENS
                ],
            },
        }
    ],
    "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9},
    "modelVersion": "m",
}
_BEDROCK = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Paris"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9},
    "metrics": {"latencyMs": 1},
}
_CHAT = answer(says("Par", "is", logprob=[-0.1, -0.3]))

PROVIDERS = {
    # Signed by AWS's own rules, with its own library.
    "bedrock": Provider(
        {"litellm": "bedrock"},
        "/model/m/converse",
        _json(_BEDROCK),
        measured=False,
        key=("authorization", ""),
    ),
    "gemini": Provider(
        {"litellm": "gemini"},
        "/models/m:generateContent",
        _json(_GEMINI),
        measured=True,
        key=("x-goog-api-key", KEY),
    ),
    "azure": Provider(
        {}, "/openai/v1/chat/completions", _CHAT, measured=True, key=("authorization", f"Bearer {KEY}")
    ),
    "vllm": Provider(
        {}, "/v1/chat/completions", _CHAT, measured=True, key=("authorization", f"Bearer {KEY}")
    ),
    "llama.cpp": Provider(
        {}, "/v1/chat/completions", _CHAT, measured=True, key=("authorization", f"Bearer {KEY}")
    ),
    "ollama": Provider(
        {}, "/v1/chat/completions", _CHAT, measured=True, key=("authorization", f"Bearer {KEY}")
    ),
}
#: The path of the base URL in each provider's documentation.
_BASES = {"azure": "/openai/v1", "vllm": "/v1", "llama.cpp": "/v1", "ollama": "/v1"}


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(provider: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("providers")
    address = provider.base_url.removesuffix("/v1")
    config = {
        "server": {"store": "memory://"},
        "upstreams": {
            name: {
                "base_url": address + _BASES.get(name, ""),
                "api_key_env": "IDK_TEST_KEY",
                "max_retries": 0,
                **each.upstream,
            }
            for name, each in PROVIDERS.items()
        },
        "routes": [route(name, name, model="m", scorers=["mean_logprob"]) for name in PROVIDERS],
    }
    aws = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION_NAME": "us-east-1"}
    environ = {**os.environ, **aws, "IDK_TEST_KEY": KEY}
    with Proxy("--config", write_config(folder, config), cwd=folder, env=environ) as process:
        yield process


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_by_its_configuration(name, proxy, provider):
    each = PROVIDERS[name]
    provider.serve(each.path, each.reply)
    prompt = f"What does {name} say?"
    provider.serve(prompt, each.reply)
    got = proxy.post(asking(name, prompt, max_tokens=9))
    assert got.status_code == 200, got.text
    assert got.json()["choices"][0]["message"]["content"] == "Paris"
    report = got.json()["idk"]["choices"][0]
    if each.measured:
        assert report["score"] == pytest.approx(-0.2), report
        assert report["source"] == "logprobs"
    else:
        assert report["reason"] == "unmeasured"
    (call,) = provider.calls(prompt) or provider.calls(each.path)
    header, value = each.key
    assert call.headers[header].endswith(value)
    assert call.path.partition("?")[0] == each.path
