"""Samples and escalation through real processes: who leaves, what is counted, what a client's SDK sees."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import openai
import pytest

from tests.e2e.proxies import Proxy, asking, enforced, events, write_config
from tests.fakes import answer, held, says
from tests.proxy.requests.evidence.replies import is_sample, telling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import FakeUpstream

PARIS = says("Par", "is")


@pytest.fixture(scope="module")
def proxy(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("sampling")
    sampled = {"scorer": "agreement", "least": 0.5, "samples": 3}
    config = {
        "server": {"store": "memory://", "keepalive_s": 0.2},
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0, "timeout_s": 20}},
        "routes": [
            enforced("sampled", **sampled),
            enforced("single", **sampled),
            enforced("narrow", **sampled, budget={"concurrency": 1}),
            enforced("hasty", **sampled, budget={"timeout_s": 0.1}),
            enforced("weak", on_low="escalate", escalate_to="strong"),
            enforced("strong", model="large"),
        ],
    }
    with Proxy("--config", write_config(folder, config), cwd=folder) as process:
        yield process


def arrived(upstream: FakeUpstream, prompt: str, count: int):
    """Wait for this many calls."""
    return [upstream.call(prompt, number) for number in range(count)]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_takes_its_samples_along(proxy, upstream, streamed):
    """The answer has arrived, and three calls for samples are in flight."""
    prompt = upstream.script(telling(PARIS, ["Paris"] * 3, refuses="n", holds=True))
    connection = proxy.open(asking("single", prompt, stream=streamed))
    numbers = itertools.count()
    calls = []
    while len(calls) < 3:
        call = upstream.call(prompt, next(numbers))
        calls += [call] if is_sample(call) and "n" not in call.json else []
    connection.close()
    assert all(call.was_left() for call in calls)


def test_one_that_leaves_before_the_answer_takes_both_along(proxy, upstream):
    prompt = upstream.script(held())
    connection = proxy.open(asking("sampled", prompt))
    calls = arrived(upstream, prompt, 2)
    connection.close()
    assert all(call.was_left() for call in calls)


def test_one_that_leaves_while_another_route_is_asked(proxy, upstream):
    async def reply(call, peer):
        unsure = answer(says("Lyon", logprob=-9.0))
        await (held() if call.json["model"] == "large" else unsure)(call, peer)

    prompt = upstream.script(reply)
    connection = proxy.open(asking("weak", prompt))
    _, stronger = arrived(upstream, prompt, 2)
    connection.close()
    assert stronger.was_left()


@pytest.mark.parametrize(("said", "text"), [("Paris", "Paris"), ("Lyon", "I don't know.")])
def test_an_sdk_sees_one_answer_and_every_token(proxy, upstream, said, text):
    prompt = upstream.script(telling(PARIS, [said] * 3))
    with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client:
        got = client.chat.completions.create(**asking("sampled", prompt))
        assert [choice.message.content for choice in got.choices] == [text]
        assert got.usage.total_tokens == 9 + 10
        assert got.model_extra["idk"]["extra"] == {"calls": 1, "prompt_tokens": 7, "completion_tokens": 3}


@pytest.mark.parametrize(("said", "text"), [("Paris", "Paris"), ("Lyon", "I don't know.")])
def test_a_stream_is_held_until_the_samples_are_there(proxy, upstream, said, text):
    prompt = upstream.script(telling(PARIS, [said] * 3, holds=True))
    releasing = threading.Thread(
        target=lambda: [call.released.set() for call in arrived(upstream, prompt, 2) if is_sample(call)]
    )
    releasing.start()
    got = events(proxy.post(asking("sampled", prompt, stream=True)))
    releasing.join()
    assert "".join(c["delta"].get("content") or "" for e in got for c in e["choices"]) == text
    assert got[-1]["idk"]["choices"][0]["source"] == "samples"


def test_time_and_calls_are_bounded(proxy, upstream):
    prompt = upstream.script(telling(PARIS, ["Paris"] * 3, holds=True))
    assert proxy.post(asking("hasty", prompt)).json()["idk"]["choices"][0]["reason"] == "budget"
    prompt = upstream.script(telling(PARIS, ["Paris"] * 3, holds=True))
    with proxy.open(asking("narrow", prompt)):
        arrived(upstream, prompt, 2)
        other = upstream.script(telling(PARIS, ["Paris"] * 3))
        assert proxy.post(asking("narrow", other)).json()["idk"]["choices"][0]["reason"] == "budget"


def test_what_was_paid_is_counted(proxy, upstream):
    before = proxy.metric("idk_extra_tokens_total", route="sampled", kind="completion")
    proxy.post(asking("sampled", upstream.script(telling(PARIS, ["Paris"] * 3))))
    after = proxy.metric("idk_extra_tokens_total", route="sampled", kind="completion")
    assert after - before == 3
