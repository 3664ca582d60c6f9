"""The official client against the proxy: whole, streamed, parsed and with tools, answered and withheld."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import openai
import pydantic
import pytest

from tests.fakes import answer, calls_tool, error, says

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.e2e.proxies import Proxy
    from tests.fakes import FakeUpstream

SURE = answer(says("Par", "is", logprob=-0.01))
UNSURE = answer(says("Ly", "on", logprob=-3.0))
UNKNOWN = "I don't know."
WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


class City(pydantic.BaseModel):
    """An answer with a schema."""

    name: str
    kind: Literal["city"]


@pytest.fixture
def client(proxy: Proxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(proxy: Proxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as made:
        yield made


def asks(prompt: str) -> list[Any]:
    return [{"role": "user", "content": prompt}]


def report(response: pydantic.BaseModel) -> dict[str, Any]:
    """Return the ``idk`` field."""
    found = (response.model_extra or {})["idk"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("said", "content", "decision"), [(SURE, "Paris", "answer"), (UNSURE, UNKNOWN, "abstain")]
)
class TestPlainText:
    """Answers and abstentions have the same fields."""

    def test_sync(self, client, upstream, said, content, decision):
        got = client.chat.completions.create(model="policy", messages=asks(upstream.script(said)))
        assert got.choices[0].message.content == content
        assert got.choices[0].message.refusal is None
        assert got.choices[0].finish_reason == "stop"
        assert got.usage.completion_tokens == 2
        assert report(got)["choices"][0]["decision"] == decision

    async def test_async(self, async_client, upstream, said, content, decision):
        got = await async_client.chat.completions.create(model="policy", messages=asks(upstream.script(said)))
        assert got.choices[0].message.content == content
        assert report(got)["choices"][0]["decision"] == decision

    def test_streaming(self, client, upstream, said, content, decision):
        chunks = list(
            client.chat.completions.create(
                model="policy", messages=asks(upstream.script(said)), stream=True,
                stream_options={"include_usage": True},
            )
        )  # fmt: skip
        parts = [choice for chunk in chunks for choice in chunk.choices]
        assert "".join(part.delta.content or "" for part in parts) == content
        assert [part.finish_reason for part in parts if part.finish_reason] == ["stop"]
        assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [2]
        assert report(chunks[-1])["choices"][0]["decision"] == decision

    async def test_async_streaming(self, async_client, upstream, said, content, decision):
        stream = await async_client.chat.completions.create(
            model="policy", messages=asks(upstream.script(said)), stream=True
        )
        chunks = [chunk async for chunk in stream]
        parts = [choice for chunk in chunks for choice in chunk.choices]
        assert "".join(part.delta.content or "" for part in parts) == content
        assert report(chunks[-1])["choices"][0]["decision"] == decision

    def test_the_streams_accumulator(self, client, upstream, said, content, decision):
        with client.chat.completions.stream(model="policy", messages=asks(upstream.script(said))) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.content == content

    def test_headers(self, client, upstream, said, content, decision):
        got = client.chat.completions.with_raw_response.create(
            model="policy", messages=asks(upstream.script(said))
        )
        judged = report(got.parse())["choices"][0]
        assert got.headers["x-idk-route"] == "policy"
        assert got.headers["x-idk-decision"] == decision
        assert got.headers["x-idk-reason"] == judged["reason"]
        assert float(got.headers["x-idk-confidence"]) == pytest.approx(judged["confidence"], abs=1e-4)
        assert got.headers["x-request-id"].startswith("idk-")


PARSED = answer(says('{"name":"Paris",', '"kind":"city"}'))
NOT_PARSED = answer(says('{"name":"Lyon",', '"kind":"city"}', logprob=-3.0))


class TestSchema:
    """Under a schema the words go into ``refusal``: ``.parse()`` must not fail on them."""

    def test_an_answer_is_parsed(self, client, upstream):
        got = client.chat.completions.parse(
            model="enforce", messages=asks(upstream.script(PARSED)), response_format=City
        )
        assert got.choices[0].message.parsed == City(name="Paris", kind="city")

    def test_an_abstention_is_a_refusal(self, client, upstream):
        got = client.chat.completions.parse(
            model="enforce", messages=asks(upstream.script(NOT_PARSED)), response_format=City
        )
        assert got.choices[0].message.parsed is None
        assert got.choices[0].message.content is None
        assert got.choices[0].message.refusal == UNKNOWN

    async def test_async(self, async_client, upstream):
        got = await async_client.chat.completions.parse(
            model="enforce", messages=asks(upstream.script(NOT_PARSED)), response_format=City
        )
        assert got.choices[0].message.refusal == UNKNOWN

    @pytest.mark.parametrize(("said", "refusal"), [(PARSED, None), (NOT_PARSED, UNKNOWN)])
    def test_streaming(self, client, upstream, said, refusal):
        with client.chat.completions.stream(
            model="enforce", messages=asks(upstream.script(said)), response_format=City
        ) as stream:
            message = stream.get_final_completion().choices[0].message
        assert message.refusal == refusal
        assert (message.parsed is None) == (refusal is not None)

    def test_json_object_too(self, client, upstream):
        got = client.chat.completions.create(
            model="enforce", messages=asks(upstream.script(UNSURE)), response_format={"type": "json_object"}
        )
        assert got.choices[0].message.content is None
        assert got.choices[0].message.refusal == UNKNOWN


CALL = answer(calls_tool("weather", '{"city":"Oslo"}'))


class TestTools:
    """A tool call is no answer: it passes, however unsure."""

    def test_a_call_passes(self, client, upstream):
        got = client.chat.completions.create(
            model="enforce", messages=asks(upstream.script(CALL)), tools=WEATHER
        )
        assert got.choices[0].message.tool_calls[0].function.arguments == '{"city":"Oslo"}'
        assert got.choices[0].finish_reason == "tool_calls"
        assert report(got)["choices"][0]["reason"] == "tool_call"

    def test_a_streamed_call_passes(self, client, upstream):
        with client.chat.completions.stream(
            model="enforce", messages=asks(upstream.script(CALL)), tools=WEATHER
        ) as stream:
            message = stream.get_final_completion().choices[0].message
        assert message.tool_calls[0].function.name == "weather"

    @pytest.mark.parametrize(("said", "content"), [(SURE, "Paris"), (UNSURE, UNKNOWN)])
    def test_words_are_gated_with_tools_on_offer(self, client, upstream, said, content):
        got = client.chat.completions.create(
            model="enforce", messages=asks(upstream.script(said)), tools=WEATHER
        )
        assert got.choices[0].message.content == content
        assert got.choices[0].message.tool_calls is None


class TestErrors:
    """What the SDK raises."""

    def test_an_unknown_model(self, client, upstream):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="nothing", messages=asks("?"))
        assert caught.value.code == "model_not_found"
        assert caught.value.request_id.startswith("idk-")

    def test_the_upstreams_own(self, client, upstream: FakeUpstream):
        prompt = upstream.script(error(429, "slow down", code="rate_limit_exceeded"))
        with pytest.raises(openai.RateLimitError, match="its message is not shown") as caught:
            client.chat.completions.create(model="enforce", messages=asks(prompt))
        assert caught.value.code == "rate_limit_exceeded"


def test_the_models_are_the_routes(client):
    names = {model.id for model in client.models.list()}
    assert {"enforce", "observe", "renamed"} <= names
    assert "alias-*" not in names
    assert client.models.retrieve("enforce").id == "enforce"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_may_bring_its_threshold(client, upstream, stream):
    """-0.3 a token is about 0.74 sure of being right: between the two thresholds."""

    def decided(**wish: float) -> dict[str, Any]:
        got = client.chat.completions.create(
            model="policy", messages=asks(upstream.script(answer(says("So", "fia", logprob=-0.3)))),
            stream=stream, extra_body={"idk": wish},
        )  # fmt: skip
        return report(list(got)[-1] if stream else got)["choices"][0]

    low, high, costly = decided(threshold=0.1), decided(threshold=0.95), decided(wrong_cost=19)
    assert (low["decision"], high["decision"], costly["decision"]) == ("answer", "abstain", "abstain")
    assert low["confidence"] == high["confidence"] == costly["confidence"]
    assert (low["threshold"], high["threshold"], costly["threshold"]) == (0.1, 0.95, 0.95)


async def test_many_at_once_do_not_mix(async_client, upstream):
    """Whole and streamed, served and withheld, each gets its own."""
    wanted = [f"city{number}" if number % 3 else UNKNOWN for number in range(60)]

    async def ask(number: int) -> str:
        said = says(f"city{number}", logprob=-0.01 if number % 3 else -3.0)
        asked: dict[str, Any] = {"model": "policy", "messages": asks(upstream.script(answer(said)))}
        if number % 2:
            return (await async_client.chat.completions.create(**asked)).choices[0].message.content
        stream = await async_client.chat.completions.create(**asked, stream=True)
        return "".join([part.delta.content or "" async for chunk in stream for part in chunk.choices])

    assert await asyncio.gather(*map(ask, range(60))) == wanted


def test_feedback_by_the_completions_id(client: openai.OpenAI, upstream: FakeUpstream):
    prompt = upstream.script(answer(says("Paris"), id="chatcmpl-for-feedback"))
    reply = client.chat.completions.create(model="enforce", messages=asks(prompt))
    said = client.post("/feedback", cast_to=object, body={"id": reply.id, "label": "incorrect"})
    assert said["label"] == "incorrect"
    with pytest.raises(openai.NotFoundError, match="no decision of this id"):
        client.post("/feedback", cast_to=object, body={"id": "chatcmpl-of-nobody", "label": "correct"})
