"""The rescue in a real process: whole and streamed, by the official client and on the wire."""

from __future__ import annotations

import pytest

from tests.e2e.proxies import Proxy, asking, enforced, events, write_config
from tests.fakes import FakeUpstream, answer, says

RAG = {"context": "(?s)<context>(.*?)</context>", "rescue": True}


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(upstream, tmp_path_factory):
    config = {
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0}},
        "routes": [enforced("rag", rag=RAG), enforced("plain")],
    }
    folder = tmp_path_factory.mktemp("rescue")
    with Proxy("--config", write_config(folder, config), cwd=folder) as running:
        yield running


def scripted(upstream, closed_logprob):
    """Return a question that the model declines with its passage and answers without it."""
    bare = upstream.script(answer(says("Par", "is", logprob=closed_logprob)))
    whole = f"<context>Lyon is old.</context>{bare}"
    upstream._replies[whole] = [answer(says("The context", " does not mention", " the capital."))]
    return whole, bare


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_passage_made_the_model_refuse_comes_back(proxy, upstream, stream):
    whole, bare = scripted(upstream, -0.01)
    response = proxy.post(asking("rag", whole, stream=stream))
    if stream:
        came = events(response)
        text = "".join(c["delta"].get("content") or "" for e in came for c in e["choices"])
        idk = came[-1]["idk"]
    else:
        text, idk = response.json()["choices"][0]["message"]["content"], response.json()["idk"]
        assert response.headers["x-idk-decision"] == "rescue"
    assert (text, idk["choices"][0]["decision"], idk["extra"]["calls"]) == ("Paris", "rescue", 1)
    assert "mention" not in response.text
    assert len(upstream.calls(bare)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_unsure_answer_without_the_passage_is_withheld_too(proxy, upstream, stream):
    whole, _ = scripted(upstream, -4.0)
    response = proxy.post(asking("rag", whole, stream=stream))
    assert "Paris" not in response.text
    assert "Par" not in response.text
    assert "I don't know." in response.text


def test_a_route_without_it_asks_once(proxy, upstream):
    whole, bare = scripted(upstream, -0.01)
    response = proxy.post(asking("plain", whole))
    assert response.json()["idk"]["choices"][0]["decision"] == "abstain"
    assert not upstream.calls(bare)


def test_rescues_are_counted_by_their_outcome(proxy, upstream):
    before = proxy.metric("idk_rescues_total", route="rag", outcome="served")
    proxy.post(asking("rag", scripted(upstream, -0.01)[0]))
    assert proxy.metric("idk_rescues_total", route="rag", outcome="served") == before + 1
