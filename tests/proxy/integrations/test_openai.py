"""The wrapped openai client, sync and async, whole and streamed, before a fake upstream."""

from __future__ import annotations

import json

import openai
import pytest
from pydantic import BaseModel

from proxy.exceptions import ConfigError, UpstreamGarbage
from proxy.integrations.openai import PolicyJudge, wrap
from tests.fakes import answer, raw, says
from tests.proxy.policies import POLICY

ABSTENTION = "I don't know."
SURE = says("Par", "is", logprob=-0.01)
UNSURE = says("Ly", "on", logprob=-6.0)


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY.to_dict()), encoding="utf-8")
    return path


@pytest.fixture
def client(upstream):
    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        yield client


def asked(prompt, **fields):
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


@pytest.mark.parametrize(("said", "shown"), [(SURE, "Paris"), (UNSURE, ABSTENTION)], ids=["sure", "unsure"])
class TestChat:
    def test_whole(self, upstream, client, policy_file, said, shown):
        reply = wrap(client, policy_file).chat.completions.create(**asked(upstream.script(answer(said))))
        assert reply.choices[0].message.content == shown
        assert reply.choices[0].logprobs is None
        assert reply.idk["choices"][0]["decision"] == ("answer" if shown == "Paris" else "abstain")
        assert reply.idk["certified"] is False

    def test_streamed(self, upstream, client, policy_file, said, shown):
        chunks = list(
            wrap(client, policy_file).chat.completions.create(
                **asked(upstream.script(answer(said)), stream=True)
            )
        )
        text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
        assert text == shown
        assert "Ly" not in str(chunks)

    async def test_async(self, upstream, policy_file, said, shown):
        async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
            reply = await wrap(client, policy_file).chat.completions.create(
                **asked(upstream.script(answer(said)))
            )
        assert reply.choices[0].message.content == shown

    def test_the_same_verdict_without_the_wrapper(self, upstream, client, policy_file, said, shown):
        judge = PolicyJudge.load(policy_file)
        fields = asked(upstream.script(answer(said)), logprobs=True)
        whole = judge.judge(client.chat.completions.create(**fields))
        chunks = judge.judge(client.chat.completions.create(**fields, stream=True))
        assert whole == chunks
        assert whole.answered == (shown == "Paris")
        assert (whole.confidence >= whole.threshold) == whole.answered
        assert judge.judge(client.chat.completions.create(**fields).model_dump()) == whole


def test_parse_gives_a_refusal_in_place_of_an_uncertain_object(upstream, client, policy_file):
    class Capital(BaseModel):
        city: str

    prompt = upstream.script(answer(says('{"city": ', '"Lyon"}', logprob=-6.0)))
    reply = wrap(client, policy_file).chat.completions.parse(**asked(prompt, response_format=Capital))
    assert (reply.choices[0].message.parsed, reply.choices[0].message.refusal) == (None, ABSTENTION)


def test_the_logprobs_that_the_caller_asked_for_stay(upstream, client, policy_file):
    prompt = upstream.script(answer(SURE))
    reply = wrap(client, policy_file).chat.completions.create(**asked(prompt, logprobs=True, top_logprobs=2))
    assert [len(token.top_logprobs) for token in reply.choices[0].logprobs.content] == [2, 2]


def test_one_uncertain_choice_does_not_take_the_other_one(upstream, client, policy_file):
    prompt = upstream.script(answer(SURE, UNSURE))
    reply = wrap(client, policy_file).chat.completions.create(**asked(prompt, n=2))
    assert [choice.message.content for choice in reply.choices] == ["Paris", ABSTENTION]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [b'{"id": "x"}', b'{"choices": []}', b'{"content": "Lyon"}', b"Lyon", b"{"])
def test_a_response_without_a_choice_never_reaches_the_caller(upstream, client, policy_file, body, stream):
    kind = {"content-type": "text/event-stream"} if stream else {}
    sent = b"data: " + body + b"\n\ndata: [DONE]\n\n" if stream else body
    prompt = upstream.script(raw(sent, headers=kind))
    with pytest.raises(openai.APIStatusError) as caught:
        list(wrap(client, policy_file).chat.completions.create(**asked(prompt, stream=stream)))
    assert caught.value.status_code == 502
    assert "Lyon" not in str(caught.value)


def test_an_error_of_the_upstream_stays_what_it_is(upstream, client, policy_file):
    prompt = upstream.script(raw(b'{"error": {"message": "too long", "type": "t"}}', 400))
    with pytest.raises(openai.BadRequestError, match="too long"):
        wrap(client, policy_file).chat.completions.create(**asked(prompt))


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.post("/chat/completions/", body=asked("hello"), cast_to=object),
        lambda client: client.batches.retrieve("b"),
        lambda client: client.files.content("f"),
        lambda client: client.responses.retrieve("r"),
        lambda client: client.chat.completions.retrieve("c"),
        lambda client: client.post("/conversations", body={}, cast_to=object),
        lambda client: client.get("/models/../files/f/content", cast_to=object),
    ],
)
def test_what_cannot_be_judged_is_refused(client, policy_file, call):
    with pytest.raises(openai.APIStatusError):
        call(wrap(client, policy_file))


def test_a_response_without_logprobs_is_withheld_or_as_the_caller_decides(upstream, client, policy_file):
    bare = raw(b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}}]}')
    for on_unmeasured, shown in (("abstain", ABSTENTION), ("answer", "Paris")):
        wrapped = wrap(client, policy_file, on_unmeasured=on_unmeasured)
        reply = wrapped.chat.completions.create(**asked(upstream.script(bare)))
        assert reply.choices[0].message.content == shown
        assert reply.idk["choices"][0]["reason"] == "unmeasured"


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"version": 1}', "\udcff"])
def test_a_file_that_is_no_policy_is_named(tmp_path, text):
    path = tmp_path / "policy.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"policy\.json"):
        PolicyJudge.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        PolicyJudge.load(tmp_path / "absent.json")


@pytest.mark.parametrize("response", [{}, {"choices": []}, []])
def test_nothing_to_judge_is_no_judgement(policy_file, response):
    with pytest.raises(UpstreamGarbage):
        PolicyJudge.load(policy_file).judge(response)


def test_a_threshold_of_the_caller_stands_over_the_policys(policy_file, upstream, client):
    reply = client.chat.completions.create(**asked(upstream.script(answer(SURE)), logprobs=True))
    assert PolicyJudge.load(policy_file, threshold=1.0).judge(reply).decision == "abstain"
    with pytest.raises(ConfigError, match="threshold"):
        PolicyJudge.load(policy_file, threshold=7.0)
