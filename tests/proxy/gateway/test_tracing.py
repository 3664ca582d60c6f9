"""Spans of gated requests, in the words of the GenAI conventions."""

from __future__ import annotations

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as conventions
from opentelemetry.trace import SpanKind, StatusCode

from proxy.app import build
from proxy.config import parse
from proxy.gateway.tracing import Tracing
from tests.fakes import answer, error, says
from tests.proxy.conftest import Running

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


FORMATS = {
    "/v1/chat/completions": lambda prompt: {"messages": [{"role": "user", "content": prompt}]},
    "/v1/completions": lambda prompt: {"prompt": prompt},
    "/v1/responses": lambda prompt: {"input": prompt},
    "/v1/messages": lambda prompt: {"max_tokens": 9, "messages": [{"role": "user", "content": prompt}]},
}


@pytest.fixture
async def traced(upstream, tmp_path):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    config = {
        "upstreams": {
            "u": {
                "base_url": upstream.base_url, "max_retries": 0,
                "formats": ["chat", "completions", "responses", "messages"],
            },
        },
        "routes": [
            {
                "name": "r", "models": ["*"], "upstream": "u", "mode": "enforce", "scorers": ["mean_logprob"],
                "score_threshold": -0.5, "model": "gpt-2030",
            }
        ],
    }  # fmt: skip
    loaded = parse(yaml.safe_dump(config), "t.yaml")
    running = Running(build(loaded, folder=tmp_path, environ={}, tracing=Tracing(provider)))
    yield running, exporter
    await running.app.aclose()


def body(prompt, **fields):
    return {"model": "gpt", "messages": [{"role": "user", "content": prompt}], **fields}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_a_span(traced, upstream, stream):
    running, exporter = traced
    prompt = upstream.script(answer(says("Par", "is", logprob=-0.01)))
    usage = {"stream_options": {"include_usage": True}} if stream else {}
    asked = body(
        prompt, stream=stream, temperature=0.5, max_tokens=9, seed=3,
        response_format={"type": "json_object"}, **usage,
    )  # fmt: skip
    await running.ask("/v1/chat/completions", asked, headers=PARENT)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("chat gpt", SpanKind.CLIENT)
    assert format(span.context.trace_id, "032x") == TRACE
    found = dict(span.attributes)
    assert found[conventions.GEN_AI_OPERATION_NAME] == "chat"
    assert found[conventions.GEN_AI_PROVIDER_NAME] == "openai"
    assert found[conventions.GEN_AI_REQUEST_MODEL] == "gpt"
    assert found[conventions.GEN_AI_REQUEST_TEMPERATURE] == 0.5
    assert found[conventions.GEN_AI_REQUEST_MAX_TOKENS] == 9
    assert found[conventions.GEN_AI_REQUEST_SEED] == 3
    assert found[conventions.GEN_AI_OUTPUT_TYPE] == "json"
    assert found[conventions.GEN_AI_USAGE_INPUT_TOKENS] == 7
    assert found[conventions.GEN_AI_USAGE_OUTPUT_TOKENS] == 2
    assert found[conventions.GEN_AI_RESPONSE_ID] == "chatcmpl-fake"
    assert found[conventions.GEN_AI_RESPONSE_MODEL] == "gpt-2030"
    assert found[conventions.GEN_AI_RESPONSE_FINISH_REASONS] == ("stop",)
    assert (found["idk.decision"], found["idk.reason"], found["idk.route"]) == (
        ("answer",),
        ("confident",),
        "r",
    )
    assert found["idk.score"] == pytest.approx((-0.01,))
    assert "Paris" not in str(found)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", FORMATS)
async def test_the_upstream_says_which_model_answered(traced, upstream, path, stream):
    running, exporter = traced
    asked = {"model": "gpt", "stream": stream, **FORMATS[path](upstream.script(answer(says("x"))))}
    assert (await running.ask(path, asked)).status == 200
    (span,) = exporter.get_finished_spans()
    assert span.attributes[conventions.GEN_AI_REQUEST_MODEL] == "gpt"
    assert span.attributes[conventions.GEN_AI_RESPONSE_MODEL] == "gpt-2030"
    assert span.attributes[conventions.GEN_AI_RESPONSE_ID].endswith("fake")
    assert span.attributes[conventions.GEN_AI_RESPONSE_FINISH_REASONS] == ("stop",)


async def test_what_is_no_text_is_no_model(traced, upstream):
    running, exporter = traced
    await running.ask("/v1/chat/completions", body(upstream.script(answer(says("x"), model={"a": 1}))))
    (span,) = exporter.get_finished_spans()
    assert conventions.GEN_AI_RESPONSE_MODEL not in span.attributes


async def test_the_upstream_gets_the_spans_context(traced, upstream):
    running, exporter = traced
    prompt = upstream.script(answer(says("x")))
    await running.ask("/v1/chat/completions", body(prompt), headers=PARENT)
    (span,) = exporter.get_finished_spans()
    sent = upstream.call(prompt).headers["traceparent"]
    assert sent == f"00-{TRACE}-{format(span.context.span_id, '016x')}-01"


async def test_a_failure_is_one_of_the_span(traced, upstream):
    running, exporter = traced
    await running.ask("/v1/chat/completions", body(upstream.script(error(429, "slow down"))))
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "429"
    assert "slow down" not in str(dict(span.attributes))


async def test_several_choices_are_told_one_by_one(traced, upstream):
    running, exporter = traced
    prompt = upstream.script(answer(says("a"), says("b", logprob=-3.0)))
    await running.ask("/v1/chat/completions", body(prompt, n=2))
    (span,) = exporter.get_finished_spans()
    assert span.attributes["idk.decision"] == ("answer", "abstain")
    assert span.attributes[conventions.GEN_AI_REQUEST_CHOICE_COUNT] == 2


async def test_without_it_there_is_no_header(serving, upstream):
    prompt = upstream.script(answer(says("x")))
    async with serving({"name": "r"}) as proxy:
        await proxy.chat(prompt)
    assert "traceparent" not in upstream.call(prompt).headers
