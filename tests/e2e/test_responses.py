"""OpenAI's client on /v1/responses: answered and withheld, whole and streamed, and no way around the gate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import openai
import pydantic
import pytest

from tests.fakes import answer, calls_tool, error, says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.proxies import Proxy

SURE = answer(says("Par", "is", logprob=-0.01))
UNSURE = answer(says("Ly", "on", logprob=-3.0))
UNKNOWN = "I don't know."
CASES = pytest.mark.parametrize(
    ("said", "text", "decision"),
    [(SURE, "Paris", "answer"), (UNSURE, UNKNOWN, "abstain")],
    ids=["sure", "unsure"],
)


class City(pydantic.BaseModel):
    """An answer with a schema."""

    name: str


@pytest.fixture
def client(proxy: Proxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as made:
        yield made


@CASES
def test_whole(client, upstream, said, text, decision):
    got = client.responses.create(model="policy", input=upstream.script(said))
    assert got.output_text == text
    assert got.status == "completed"
    assert got.usage.output_tokens == 2
    assert got.model_extra["idk"]["choices"][0]["decision"] == decision
    assert got.output[0].content[0].logprobs == []


@CASES
def test_streamed(client, upstream, said, text, decision):
    """OpenAI's own accumulator finds every event in its place."""
    with client.responses.stream(model="policy", input=upstream.script(said)) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == text
    assert final.model_extra["idk"]["choices"][0]["decision"] == decision
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(
        range(len([event for event in events if hasattr(event, "sequence_number")]))
    )
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == text


def test_logprobs_that_the_client_asked_for(client, upstream):
    got = client.responses.create(
        model="policy", input=upstream.script(SURE), include=["message.output_text.logprobs"]
    )
    assert [token.logprob for token in got.output[0].content[0].logprobs] == [-0.01, -0.01]


def test_a_schema_turns_the_words_into_a_refusal(client, upstream):
    sure = upstream.script(answer(says('{"name":', ' "Paris"}', logprob=-0.01)))
    assert client.responses.parse(model="policy", input=sure, text_format=City).output_parsed == City(
        name="Paris"
    )
    unsure = upstream.script(answer(says('{"name":', ' "Lyon"}', logprob=-3.0)))
    got = client.responses.parse(model="policy", input=unsure, text_format=City)
    assert got.output_parsed is None
    assert got.output[0].content[0].refusal == UNKNOWN
    with client.responses.stream(model="policy", input=unsure, text_format=City) as stream:
        events = [event.type for event in stream]
    assert "response.refusal.delta" in events


def test_a_tool_call_is_no_answer(client, upstream):
    prompt = upstream.script(answer(calls_tool("weather", '{"city": "Paris"}', logprob=-3.0)))
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
    got = client.responses.create(model="policy", input=prompt, tools=[tool])
    assert got.output[0].arguments == '{"city": "Paris"}'
    assert got.model_extra["idk"]["choices"][0]["reason"] == "tool_call"


def test_the_upstreams_own_refusal_passes(client, upstream):
    prompt = upstream.script(answer(says(message={"refusal": "I cannot."})))
    got = client.responses.create(model="policy", input=prompt)
    assert got.output[0].content[0].refusal == "I cannot."
    assert got.model_extra["idk"]["choices"][0]["reason"] == "upstream_abstained"


def test_an_upstreams_error_is_the_clients(client, upstream):
    with pytest.raises(openai.RateLimitError, match="its message is not shown"):
        client.responses.create(model="policy", input=upstream.script(error(429, "slow down")))


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_of_a_withheld_answer_gets_out(proxy, upstream, streamed):
    """Not its words, and not the id by which it could be fetched or gone on from."""
    got = proxy.post(
        {"model": "policy", "input": upstream.script(UNSURE), "stream": streamed}, "/v1/responses"
    )
    assert "Ly" not in got.text
    assert "resp_fake" not in got.text
    withheld = (
        json.loads(got.text.rpartition("data: ")[2])["response"]["id"] if streamed else got.json()["id"]
    )
    again = {"model": "policy", "input": "and?", "previous_response_id": withheld}
    refused = proxy.post(again, "/v1/responses")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "withheld_response"


@pytest.mark.parametrize("field", [{"background": True}, {"conversation": "conv_1"}])
def test_what_would_be_read_past_the_gate_is_refused(proxy, upstream, field):
    refused = proxy.post({"model": "policy", "input": "?", **field}, "/v1/responses")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "ungateable"
    observed = proxy.post({"model": "observe", "input": upstream.script(SURE), **field}, "/v1/responses")
    assert observed.status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/responses/resp_fake", "/v1/chat/completions/chatcmpl-fake", "/v1/chat/completions"]
)
def test_what_an_upstream_keeps_is_not_read_past_the_gate(proxy, path):
    """The first route only observes, but another enforces at the same upstream: its answers are kept there too."""
    got = httpx.get(f"{proxy.url}{path}")
    assert got.status_code in (403, 404, 405)


@CASES
def test_observed(client, upstream, said, text, decision):
    words = "Paris" if decision == "answer" else "Lyon"
    prompt = upstream.script(said)
    assert client.responses.create(model="observe", input=prompt).output_text == words
    with client.responses.stream(model="observe", input=prompt) as stream:
        final = stream.get_final_response()
    assert final.output_text == words
    assert final.model_extra["idk"]["mode"] == "observe"
