"""LiteLLM's guardrail in process: its hooks, with LiteLLM's own responses."""

from __future__ import annotations

import json
import os

import pytest

from proxy.exceptions import ConfigError, HttpError
from tests.proxy.policies import POLICY

os.environ.setdefault(
    "LITELLM_LOCAL_MODEL_COST_MAP", "True"
)  # without it, the import fetches a list of prices
litellm = pytest.importorskip("litellm")
#: LiteLLM's own types warn of their read-only items when pydantic first reads them.
pytestmark = pytest.mark.filterwarnings("ignore:Items? .* using the `ReadOnly` qualifier:UserWarning")

ABSTENTION = "I don't know."


@pytest.fixture
def guardrail(tmp_path):
    from proxy.integrations.litellm import IdkGuardrail

    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY.to_dict()), encoding="utf-8")
    return IdkGuardrail(
        policy=str(path), guardrail_name="idk", event_hook=["pre_call", "post_call"], default_on=True
    )


def choice(*tokens, logprob, index=0, finish="stop"):
    content = [{"token": token, "logprob": logprob, "bytes": None, "top_logprobs": []} for token in tokens]
    message = {"role": "assistant", "content": "".join(tokens), "reasoning_content": "Lyon it is"}
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": {"content": content}}


def response(*choices):
    return litellm.ModelResponse(id="chatcmpl-1", model="m", choices=list(choices))


SURE, UNSURE = choice("Par", "is", logprob=-0.01), choice("Ly", "on", logprob=-6.0)


async def judged(guardrail, answer, **fields):
    data = {"model": "m", "messages": [{"role": "user", "content": "?"}], **fields}
    data = await guardrail.async_pre_call_hook(None, None, data, "completion")
    return data, await guardrail.async_post_call_success_hook(data, None, answer)


async def test_the_model_is_asked_for_logprobs_that_the_client_does_not_see(guardrail):
    data, reply = await judged(guardrail, response(SURE))
    assert data["logprobs"] is True
    assert reply.choices[0].message.content == "Paris"
    assert getattr(reply.choices[0], "logprobs", None) is None


async def test_a_client_that_asks_for_logprobs_gets_them(guardrail):
    _, reply = await judged(guardrail, response(SURE), logprobs=True)
    assert len(reply.choices[0].logprobs.content) == 2


async def test_an_uncertain_answer_is_withheld_with_all_that_came_with_it(guardrail):
    _, reply = await judged(guardrail, response(SURE, {**UNSURE, "index": 1}), n=2)
    assert [each.message.content for each in reply.choices] == ["Paris", ABSTENTION]
    assert "Lyon" not in str(reply.choices[1])


@pytest.mark.parametrize(
    "form", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x"}}]
)
async def test_an_abstention_under_a_schema_is_a_refusal(guardrail, form):
    _, reply = await judged(guardrail, response(UNSURE), response_format=form)
    assert reply.choices[0].message.content is None
    assert reply.choices[0].message.refusal == ABSTENTION


@pytest.mark.parametrize(("said", "shown"), [(SURE, "Paris"), (UNSURE, ABSTENTION)])
async def test_a_stream_is_held_until_its_verdict(guardrail, said, shown):
    async def chunks():
        for token in said["logprobs"]["content"]:
            delta = {"index": 0, "delta": {"content": token["token"]}, "logprobs": {"content": [token]}}
            yield litellm.ModelResponseStream(id="chatcmpl-1", model="m", choices=[delta])
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield litellm.ModelResponseStream(id="chatcmpl-1", model="m", choices=[end])

    data = {"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": True}
    data = await guardrail.async_pre_call_hook(None, None, data, "completion")
    came = [each async for each in guardrail.async_post_call_streaming_iterator_hook(None, chunks(), data)]
    assert "".join(each.choices[0].delta.content or "" for each in came if each.choices) == shown
    assert came[-1].choices == [] or came[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("kind", ["TextCompletionResponse", "RerankResponse"])
async def test_what_is_no_chat_completion_does_not_pass(guardrail, kind):
    from litellm.types.rerank import RerankResponse

    answer = litellm.TextCompletionResponse() if kind == "TextCompletionResponse" else RerankResponse(id="r")
    with pytest.raises(HttpError, match=kind):
        await judged(guardrail, answer)


async def test_embeddings_pass(guardrail):
    answer = litellm.EmbeddingResponse()
    assert (await judged(guardrail, answer))[1] is answer


async def test_no_choice_is_no_answer(guardrail):
    answer = response(SURE)
    answer.choices = []
    with pytest.raises(HttpError, match="no choices"):
        await judged(guardrail, answer)


def test_a_guardrail_without_a_policy_does_not_start():
    from proxy.integrations.litellm import IdkGuardrail

    with pytest.raises(ConfigError, match="policy"):
        IdkGuardrail(guardrail_name="idk")
