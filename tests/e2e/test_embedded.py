"""Real weights answer over OpenAI's API, and their process ends with the one that started it."""

from __future__ import annotations

import asyncio
import math
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest

from proxy.demo.embedded.openmp import bundled_gomp
from proxy.demo.embedded.server import EmbeddedServer
from tests.e2e.proxies import Proxy, enforced, write_config

if TYPE_CHECKING:
    from proxy.demo.embedded.fetch import Weights

pytestmark = pytest.mark.model
needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="Linux's pidfd tells when a process ends"
)

ROOT = Path(__file__).parents[2]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PARENT = """
import sys
from pathlib import Path
from proxy.demo.embedded.fetch import Weights
from proxy.demo.embedded.server import EmbeddedServer
with EmbeddedServer(Weights(Path(sys.argv[1]), "smollm2", None)) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def ask(base_url: str, **options: object) -> openai.types.chat.ChatCompletion:
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        return client.chat.completions.create(model="smollm2", messages=QUESTION, **options)  # type: ignore[call-overload,no-any-return]  # options vary


def ended(process: int) -> bool:
    """Return whether the process of this pidfd ends within ten seconds."""
    ready, _, _ = select.select([process], [], [], 10)
    os.close(process)
    return bool(ready)


def test_an_answer_comes_with_the_logprobs_of_its_tokens(small_model_server: str) -> None:
    choice = ask(small_model_server, logprobs=True, top_logprobs=3, max_tokens=16, temperature=0).choices[0]
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert "".join(token.token for token in tokens) == choice.message.content
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob == max(top.logprob for top in token.top_logprobs) <= 0
        assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1 + 1e-6


def test_a_greedy_answer_repeats_to_the_digit(small_model_server: str) -> None:
    first, second = (
        ask(small_model_server, logprobs=True, top_logprobs=2, max_tokens=16, temperature=0).choices
        for _ in range(2)
    )
    assert first == second


def test_a_seed_makes_samples_repeat(small_model_server: str) -> None:
    first, second = (
        [choice.message.content for choice in ask(small_model_server, n=3, seed=5, max_tokens=8).choices]
        for _ in range(2)
    )
    assert first == second
    assert len(first) == 3


@needs_pidfd
async def test_it_starts_and_ends_within_asyncio(small_weights: Weights) -> None:
    async with EmbeddedServer(small_weights, slots=1) as server:
        assert server.model == "smollm2"
        assert server.pid is not None
        process = os.pidfd_open(server.pid)
        answer = await asyncio.to_thread(ask, server.base_url, max_tokens=4)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 4
    assert ended(process)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's wheels want the system's libgomp")
def test_a_slim_system_borrows_the_openmp_of_another_wheel(
    small_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundled_gomp() is not None, "scikit-learn's wheel brings it"
    monkeypatch.setattr("proxy.demo.embedded.openmp.system_has_gomp", lambda: False)
    with EmbeddedServer(small_weights) as server:
        assert str(bundled_gomp()) in Path(f"/proc/{server.pid}/maps").read_text()
        assert ask(server.base_url, max_tokens=2).choices


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="a process of another parent is awaited with Linux's pidfd"
)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent(small_weights: Weights, how: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(small_weights.path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(how)
    assert ended(child)


def test_the_older_completions_are_gated_by_their_own_tokens(small_model_server: str, tmp_path: Path) -> None:
    """A real server's logprobs in this format, whichever of its two forms they have."""
    config = {
        "server": {"store": "memory://"},
        "upstreams": {"model": {"base_url": small_model_server}},
        "routes": [
            enforced("lenient", least=-100.0, upstream="model"),
            enforced("strict", least=0.0, upstream="model"),
        ],
    }
    with (
        Proxy("--config", write_config(tmp_path, config), cwd=tmp_path) as proxy,
        openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client,
    ):
        for stream in (False, True):
            asked = {
                "prompt": "The capital of France is",
                "max_tokens": 8,
                "temperature": 0,
                "stream": stream,
            }
            texts, decisions = {}, {}
            for model in ("lenient", "strict"):
                got = client.completions.create(model=model, **asked)
                chunks = list(got) if stream else [got]
                texts[model] = "".join(c.text for chunk in chunks for c in chunk.choices)
                decisions[model] = chunks[-1].model_extra["idk"]["choices"][0]
            assert texts["strict"] == "I don't know."
            assert texts["lenient"] != "I don't know."
            assert decisions["lenient"]["reason"] == "confident"
            assert decisions["strict"]["reason"] == "below_threshold"
            if not stream:  # of a stream that is settled early, only its beginning is scored
                assert decisions["lenient"]["score"] == pytest.approx(decisions["strict"]["score"], abs=0.05)
