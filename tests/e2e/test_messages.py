"""Anthropic's client on /v1/messages: over a chat upstream with its logprobs, and at one that speaks the format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anthropic
import pytest

from proxy.upstreams.probes import QUESTION
from tests.fakes import answer, calls_tool, error, says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.proxies import Proxy

SURE = answer(says("Par", "is", logprob=-0.01))
UNSURE = answer(says("Ly", "on", logprob=-3.0))
UNKNOWN = "I don't know."
WEATHER = {"name": "weather", "description": "w", "input_schema": {"type": "object"}}
CASES = pytest.mark.parametrize(
    ("model", "said", "text", "reason"),
    [
        ("chats", SURE, "Paris", "confident"),
        ("chats", UNSURE, UNKNOWN, "below_threshold"),
        ("chats-observe", UNSURE, "Lyon", "off"),
        ("anthropic", SURE, UNKNOWN, "unmeasured"),
        ("anthropic-lenient", SURE, "Paris", "unmeasured"),
        ("anthropic-observe", UNSURE, "Lyon", "unmeasured"),
    ],
)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=proxy.url, api_key="none", max_retries=0) as made:
        yield made


def asks(model, prompt, **more):
    return {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": prompt}], **more}


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


@CASES
def test_whole(client, upstream, model, said, text, reason):
    got = client.messages.create(**asks(model, upstream.script(said)))
    assert text_of(got) == text
    assert (got.stop_reason, got.role, got.type) == ("end_turn", "assistant", "message")
    assert (got.usage.input_tokens, got.usage.output_tokens) == (7, 2)
    assert got.model_extra["idk"]["choices"][0]["reason"] == reason


@CASES
def test_streamed(client, upstream, model, said, text, reason):
    """Anthropic's own accumulator finds every event in its place."""
    with client.messages.stream(**asks(model, upstream.script(said))) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert text_of(final) == text
    assert final.stop_reason == "end_turn"
    (last,) = [event for event in events if event.type == "message_delta"]
    assert last.model_extra["idk"]["choices"][0]["reason"] == reason


@pytest.mark.parametrize("model", ["chats-off", "anthropic-off"])
def test_a_route_that_is_off(client, upstream, model):
    assert text_of(client.messages.create(**asks(model, upstream.script(UNSURE)))) == "Lyon"
    with client.messages.stream(**asks(model, upstream.script(UNSURE))) as stream:
        assert text_of(stream.get_final_message()) == "Lyon"


@pytest.mark.parametrize("model", ["chats", "anthropic"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_is_no_answer(client, upstream, model, streamed):
    prompt = upstream.script(answer(calls_tool("weather", '{"city": "Paris"}', logprob=-3.0)))
    asked = asks(model, prompt, tools=[WEATHER])
    if streamed:
        with client.messages.stream(**asked) as stream:
            got = stream.get_final_message()
    else:
        got = client.messages.create(**asked)
    (block,) = got.content
    assert (block.name, block.input, got.stop_reason) == ("weather", {"city": "Paris"}, "tool_use")


def test_a_conversation_with_tools_becomes_the_chats(client, upstream):
    prompt = upstream.script(SURE)
    client.messages.create(
        model="chats",
        max_tokens=20,
        system=[{"type": "text", "text": "Be brief."}],
        stop_sequences=["\n"],
        extra_body={"temperature": 0},
        metadata={"user_id": "u1"},
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        messages=[
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "sunny"}],
                    },
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
                    },
                    {"type": "text", "text": prompt},
                ],
            },
        ],
    )
    sent = upstream.call(prompt).json
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "text", "text": prompt},
            ],
        },
    ]
    assert (sent["stop"], sent["temperature"], sent["user"], sent["max_tokens"]) == (["\n"], 0, "u1", 20)
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["parallel_tool_calls"] is False
    assert sent["logprobs"] is True


@pytest.mark.parametrize("model", ["chats", "anthropic"])
def test_under_a_schema_an_abstention_is_a_refusal(client, upstream, model):
    prompt = upstream.script(answer(says('{"name":', ' "Lyon"}', logprob=-3.0)))
    schema = {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {}, "additionalProperties": False},
    }
    got = client.messages.create(**asks(model, prompt), extra_body={"output_config": {"format": schema}})
    assert (text_of(got), got.stop_reason) == (UNKNOWN, "refusal")


@pytest.mark.parametrize("model", ["chats", "anthropic"])
def test_an_upstreams_error_is_the_clients(client, upstream, model):
    with pytest.raises(anthropic.RateLimitError, match="its message is not shown"):
        client.messages.create(**asks(model, upstream.script(error(429, "slow down"))))


def test_the_upstream_gets_its_key_and_the_formats_version(client, upstream):
    prompt = upstream.script(SURE)
    client.messages.create(**asks("anthropic", prompt))
    headers = upstream.call(prompt).headers
    assert headers["x-api-key"] == "sk-secret-of-the-upstream"
    assert headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("model", ["chats", "anthropic"])
@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_of_a_withheld_answer_gets_out(proxy, upstream, model, streamed):
    got = proxy.post(asks(model, upstream.script(UNSURE), stream=streamed), "/v1/messages")
    assert got.status_code == 200
    assert "Ly" not in got.text
    assert UNKNOWN in got.text


@pytest.mark.parametrize(
    "body",
    [
        {"model": "chats"}, asks("chats", "?", max_tokens="x"), asks("chats", "?", messages=[{"role": "x"}]),
        asks("chats", "?", messages=[{"role": "user", "content": 3}]),
        asks("chats", "?", messages=[{"role": "user", "content": [{"type": "document"}]}]),
        {"model": "anthropic", "messages": [], "max_tokens": 3},
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_an_error_in_the_vendors_shape(proxy, body):
    got = proxy.post(body, "/v1/messages")
    assert got.status_code == 400
    assert got.json()["type"] == "error"
    assert got.json()["error"]["type"] == "invalid_request_error"


def test_a_chat_is_not_asked_of_one_that_only_speaks_messages(proxy, upstream):
    got = proxy.post({"model": "anthropic", "messages": [{"role": "user", "content": "?"}]})
    assert got.status_code == 400
    assert got.json()["error"]["code"] == "format_not_spoken"


class TestResponsesOverChat:
    """Requests to /v1/responses at an upstream that speaks chat completions only."""

    @pytest.mark.parametrize("said", [SURE, UNSURE])
    @pytest.mark.parametrize("model", ["chats", "chats-observe", "chats-off"])
    def test_whole_and_streamed(self, proxy, upstream, model, said):
        import openai

        words = "Paris" if said is SURE else "Lyon"
        text = UNKNOWN if said is UNSURE and model == "chats" else words
        with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client:
            prompt = upstream.script(said)
            got = client.responses.create(model=model, input=prompt, instructions="Be brief.")
            assert (got.output_text, got.status, got.instructions) == (text, "completed", "Be brief.")
            assert got.usage.output_tokens == 2
            with client.responses.stream(model=model, input=prompt) as stream:
                numbers = [event.sequence_number for event in stream if hasattr(event, "sequence_number")]
                final = stream.get_final_response()
            assert final.output_text == text
            assert sorted(set(numbers)) == list(range(len(set(numbers))))

    def test_tools_and_logprobs(self, proxy, upstream):
        import openai

        tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
        with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client:
            prompt = upstream.script(answer(calls_tool("weather", '{"city": "Paris"}')))
            got = client.responses.create(model="chats", input=prompt, tools=[tool])
            assert got.output[0].arguments == '{"city": "Paris"}'
            with client.responses.stream(model="chats", input=prompt, tools=[tool]) as stream:
                final = stream.get_final_response()
            assert final.output[0].arguments == '{"city": "Paris"}'
            include = ["message.output_text.logprobs"]
            sure = client.responses.create(model="chats", input=upstream.script(SURE), include=include)
            assert [token.logprob for token in sure.output[0].content[0].logprobs] == [-0.01, -0.01]

    def test_an_upstream_without_the_path_is_asked_for_a_chat_and_remembered(self, proxy, upstream):
        """A probe of the proxy itself confirms that the path is missing."""

        async def without_responses(call, peer):
            missing = call.path == "/v1/responses"
            await (error(404, "no such path") if missing else SURE)(call, peer)

        upstream.script(without_responses, prompt=QUESTION)
        prompt = upstream.script(without_responses)
        for _ in range(2):
            got = proxy.post({"model": "bare", "input": prompt}, "/v1/responses")
            assert got.json()["output"][0]["content"][0]["text"] == "Paris"
            proxy.says("a probe confirmed that it does not accept responses (model 'bare'")
        assert [call.path for call in upstream.calls(prompt)] == [
            "/v1/responses",
            "/v1/responses",  # without logprobs
            "/v1/chat/completions",
            "/v1/chat/completions",
        ]

    @pytest.mark.parametrize(
        "field",
        [{"previous_response_id": "resp_1"}, {"tools": [{"type": "web_search"}]}, {"input": [{"type": "x"}]}],
    )
    def test_what_a_chat_cannot_do_is_refused(self, proxy, field):
        got = proxy.post({"model": "chats", "input": "?", **field}, "/v1/responses")
        assert got.status_code == 400
        assert json.loads(got.text)["error"]["param"] in field
