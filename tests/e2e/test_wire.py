"""The bytes on the wire: nothing of a withheld answer, and every byte of a served one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from proxy.upstreams.probes import QUESTION
from tests.e2e.proxies import asking, events
from tests.fakes import answer, calls_tool, error, says, stream

if TYPE_CHECKING:
    from tests.e2e.proxies import Proxy
    from tests.fakes import Call, FakeUpstream
    from tests.proxy.upstreams.peer import Peer

#: Tokens that stand nowhere else; each must be missing.
SECRET = ("Wzq", "Xkj", "Yvb")
WITHHELD = says(*SECRET, logprob=-3.0)
SERVED = says("Par", "is", logprob=-0.01)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
STREAMED = pytest.mark.parametrize("streamed", [False, True])

#: What an upstream says beside the content that may repeat it.
LEAKY = {
    "__verbose": {"content": "".join(SECRET)},
    "prompt_logprobs": [{"token": SECRET[0]}],
    "kv_transfer_params": SECRET[1],
    "idk": {"content": SECRET[2]},
}


def withholding() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Replies with something to withhold, and the request's own fields."""
    reasoning = says(*SECRET, logprob=-3.0, message={"reasoning_content": f"surely {SECRET[0]}"})
    beside = says(
        *SECRET, logprob=-3.0, message={"annotations": [SECRET[1]], "audio": {"transcript": SECRET[2]}}
    )
    two_kinds = says(*SECRET, logprob=-3.0, message={"refusal": "I would rather not."})
    return {
        "plain": (answer(WITHHELD), {}),
        "with logprobs asked for": (answer(WITHHELD), {"logprobs": True, "top_logprobs": 3}),
        "schema": (answer(WITHHELD), {"response_format": SCHEMA}),
        "further fields": (answer(WITHHELD, **LEAKY), {}),
        "usage": (answer(WITHHELD), {"stream_options": {"include_usage": True}}),
        "reasoning": (answer(reasoning), {}),
        "fields of the message": (answer(beside), {}),
        "a refusal beside an answer": (answer(two_kinds), {}),
        "first of two": (answer(WITHHELD, SERVED), {"n": 2}),
        "second of two": (answer(SERVED, WITHHELD, **LEAKY), {"n": 2}),
        "beside a tool call": (
            answer(calls_tool("weather", "{}"), WITHHELD),
            {"n": 2, "tools": [{"type": "function", "function": {"name": "weather"}}]},
        ),
        "no tool call": (
            answer(says(*SECRET, logprob=-3.0, message={"tool_calls": [], "function_call": {}})),
            {},
        ),
    }


@STREAMED
@pytest.mark.parametrize("case", withholding())
def test_nothing_of_a_withheld_answer_goes_out(proxy: Proxy, upstream: FakeUpstream, case, streamed):
    reply, fields = withholding()[case]
    # Bad logprobs and the rest of the answer come with the last token: no early end saves the gate here.
    sent = proxy.wire(asking("enforce", upstream.script(reply), stream=streamed, **fields))
    assert sent.startswith(b"HTTP/1.1 200 ")
    assert b'"decision":"abstain"' in sent
    for token in SECRET:
        assert token.encode() not in sent


#: Logprobs that are none, as JSON text. The gate cannot measure the answer by them, so it must not pass.
BAD_LOGPROBS = {
    "null": "null",
    "none for a token": '{"content":[{"token":"Wzq","logprob":null}]}',
    "NaN": '{"content":[{"token":"Wzq","logprob":NaN}]}',
    "minus infinity": '{"content":[{"token":"Wzq","logprob":-Infinity}]}',
    "sentinel": '{"content":[{"token":"Wzq","logprob":-9999.0}]}',
    "positive": '{"content":[{"token":"Wzq","logprob":0.5}]}',
    "text": '{"content":[{"token":"Wzq","logprob":"high"}]}',
    "of other text": '{"content":[{"token":"Rome","logprob":-0.01}]}',
    "too few": '{"content":[]}',
    "no list": '{"content":{"token":"Wzq"}}',
    "older form": '{"tokens":["Wzq"],"token_logprobs":[-0.01]}',
}
UNUSABLE = ("none for a token", "NaN", "positive", "of other text")
LOW = ("minus infinity", "sentinel")  # numbers, though bad ones: measured, and far below


@STREAMED
@pytest.mark.parametrize("kind", BAD_LOGPROBS)
def test_bad_logprobs_pass_nothing(proxy: Proxy, upstream: FakeUpstream, kind, streamed):
    prompt = upstream.script(answer(says(SECRET[0], logprobs=BAD_LOGPROBS[kind])))
    sent = proxy.wire(asking("enforce", prompt, stream=streamed, logprobs=True))
    reason = b"below_threshold" if kind in LOW else b"unmeasured"
    assert b'"decision":"abstain","reason":"%b"' % reason in sent
    assert SECRET[0].encode() not in sent


@STREAMED
@pytest.mark.parametrize("kind", set(BAD_LOGPROBS) - set(LOW))
def test_unmeasured_answers_go_out_where_the_route_says_so(
    proxy: Proxy, upstream: FakeUpstream, kind, streamed
):
    prompt = upstream.script(answer(says(SECRET[0], logprobs=BAD_LOGPROBS[kind])))
    sent = proxy.wire(asking("lenient", prompt, stream=streamed))
    # Logprobs that can be read, but not used, may be the client's doing: the answer is withheld all the same.
    released = kind not in UNUSABLE
    assert b'"decision":"%b","reason":"unmeasured"' % (b"answer" if released else b"abstain") in sent
    assert (SECRET[0].encode() in sent) is released


@STREAMED
def test_an_upstream_without_logprobs_is_unmeasured_and_not_asked(
    proxy: Proxy, upstream: FakeUpstream, streamed
):
    prompt = upstream.script(answer(SERVED))
    sent = proxy.wire(asking("mute", prompt, stream=streamed))
    assert b'"reason":"unmeasured"' in sent
    assert "logprobs" not in upstream.call(prompt).json


class TestServed:
    """A served answer is the upstream's own."""

    def test_whole(self, proxy, upstream):
        prompt = upstream.script(answer(SERVED, vendor_field={"kept": [1, 2.50, None]}))
        got = proxy.post(asking("enforce", prompt)).json()
        report = got.pop("idk")
        assert got == {
            "id": "chatcmpl-fake",
            "created": 1_700_000_000,
            "system_fingerprint": "fp_fake",
            "object": "chat.completion",
            "model": "enforce",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Paris", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
            "vendor_field": {"kept": [1, 2.5, None]},
        }
        assert report == {
            "route": "enforce",
            "mode": "enforce",
            "policy": None,
            "certified": False,
            "choices": [
                {
                    "index": 0,
                    "decision": "answer",
                    "reason": "confident",
                    "confidence": None,
                    "threshold": None,
                    "score": pytest.approx(-0.01),
                    "source": "logprobs",
                }
            ],
            "extra": {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0},
        }

    @STREAMED
    @pytest.mark.parametrize("model", ["enforce", "entropy", "observe"])
    @pytest.mark.parametrize(
        "wish", [{}, {"logprobs": False}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 2}]
    )
    def test_logprobs_as_the_client_asked(self, proxy, upstream, model, wish, streamed):
        """Exactly as the upstream gives them to who asks it directly."""
        prompt = upstream.script(answer(SERVED))
        got = proxy.post(asking(model, prompt, stream=streamed, **wish))
        direct = Direct(upstream).post(asking("real", prompt, stream=streamed, **wish))
        if streamed:
            seen, wanted = ([c["logprobs"] for e in events(r) for c in e["choices"]] for r in (got, direct))
        else:
            seen, wanted = ([c["logprobs"] for c in r.json()["choices"]] for r in (got, direct))
        assert seen == wanted
        assert upstream.call(prompt).json["logprobs"] is True

    @pytest.mark.parametrize("model", ["enforce", "observe", "policy"])
    def test_a_stream_is_the_upstreams_chunks(self, proxy, upstream, model):
        """Only ``idk`` is added, in the last one."""
        fields = {"stream": True, "n": 2, "stream_options": {"include_usage": True}}
        prompt = upstream.script(answer(SERVED, says("Ro", "me"), vendor_field=1))
        got = events(proxy.post(asking(model, prompt, **fields)))
        wanted = events(Direct(upstream).post(asking(model, prompt, **fields)))
        assert got[-1].pop("idk")["mode"] == ("observe" if model == "observe" else "enforce")
        assert got == wanted

    @STREAMED
    def test_off_is_untouched(self, proxy, upstream, streamed):
        prompt = upstream.script(answer(WITHHELD, vendor_field=1))
        got = proxy.post(asking("off", prompt, stream=streamed))
        wanted = Direct(upstream).post(asking("off", prompt, stream=streamed))
        assert got.content == wanted.content
        assert got.headers["x-idk-decision"] == "answer"
        assert got.headers["x-idk-reason"] == "off"
        assert "logprobs" not in upstream.call(prompt).json

    @STREAMED
    def test_observe_says_what_would_have_happened(self, proxy, upstream, streamed):
        prompt = upstream.script(answer(WITHHELD))
        got = proxy.post(asking("observe", prompt, stream=streamed))
        assert all(token in got.text for token in SECRET)
        report = (events(got)[-1] if streamed else got.json())["idk"]
        assert report["mode"] == "observe"
        assert report["choices"][0]["score"] == pytest.approx(-3.0)


class Direct:
    """Asks the fake upstream itself, without a proxy."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.url = upstream.base_url.removesuffix("/v1")

    def post(self, body: Any) -> Any:
        import httpx

        return httpx.post(f"{self.url}/v1/chat/completions", json=body)


@STREAMED
@pytest.mark.parametrize("order", [(WITHHELD, SERVED), (SERVED, WITHHELD)])
def test_one_of_two_is_withheld_and_the_order_kept(proxy, upstream, order, streamed):
    wanted = ["I don't know." if said is WITHHELD else said.text for said in order]
    got = proxy.post(asking("policy", upstream.script(answer(*order)), n=2, stream=streamed))
    if streamed:
        chunks = events(got)
        texts = ["", ""]
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            texts[choice["index"]] += choice["delta"].get("content") or ""
        judged = chunks[-1]["idk"]["choices"]
    else:
        texts = [choice["message"]["content"] for choice in got.json()["choices"]]
        assert [choice["index"] for choice in got.json()["choices"]] == [0, 1]
        judged = got.json()["idk"]["choices"]
    assert texts == wanted
    decisions = ["abstain" if said is WITHHELD else "answer" for said in order]
    assert [choice["decision"] for choice in judged] == decisions
    assert [choice["index"] for choice in judged] == [0, 1]
    assert got.headers["x-idk-decision"] == ",".join(decisions)
    assert got.headers["x-idk-confidence"] == ",".join(f"{choice['confidence']:.4f}" for choice in judged)


def test_an_abstention_as_the_contract_has_it(proxy, upstream):
    got = proxy.post(asking("policy", upstream.script(answer(WITHHELD)))).json()
    assert got["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": "I don't know.", "refusal": None},
        }
    ]
    assert got["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    report = got["idk"]
    assert report["policy"] == "support"
    assert report["certified"] is False
    judged = report["choices"][0]
    assert 0.0 <= judged["confidence"] < judged["threshold"] == 0.8
    assert math.isclose(judged["score"], -3.0)


@STREAMED
@pytest.mark.parametrize(
    ("fields", "certified", "reason"),
    [
        ({"temperature": 0}, True, "confident"),
        ({"temperature": 0, "idk": {"threshold": 0.8}}, True, "confident"),
        ({"temperature": 0, "idk": {"threshold": 0.7}}, False, "confident"),
        ({"temperature": 1}, False, "unmeasured"),
        ({}, False, "unmeasured"),
    ],
)
def test_a_certificate_holds_for_what_it_was_made_of(proxy, upstream, fields, certified, reason, streamed):
    """At its own threshold, and on requests like those of its labels; the policy itself fits no others."""
    prompt = upstream.script(answer(SERVED))
    got = proxy.post(asking("certified", prompt, stream=streamed, **fields))
    report = (events(got)[-1] if streamed else got.json())["idk"]
    assert report["certified"] is certified
    assert report["choices"][0]["reason"] == reason
    assert ("Par" in got.text) == (reason == "confident")


@STREAMED
def test_the_words_of_an_abstention_are_the_routes(proxy, upstream, streamed):
    got = proxy.post(asking("french", upstream.script(answer(WITHHELD)), stream=streamed))
    assert "Je ne sais pas." in got.text


@STREAMED
def test_the_models_own_abstention_is_counted_as_one(proxy, upstream, streamed):
    prompt = upstream.script(answer(says("I ", "don't ", "know.", logprob=-0.01)))
    before = proxy.metric(
        "idk_requests_total", route="enforce", decision="abstain", reason="upstream_abstained"
    )
    got = proxy.post(asking("enforce", prompt, stream=streamed))
    assert got.headers["x-idk-reason"] == "upstream_abstained"
    after = proxy.metric(
        "idk_requests_total", route="enforce", decision="abstain", reason="upstream_abstained"
    )
    assert after == before + 1


@STREAMED
def test_a_refusal_stays_as_the_model_put_it(proxy, upstream, streamed):
    refused = says(message={"content": None, "refusal": "I cannot help with that."})
    got = proxy.post(asking("enforce", upstream.script(answer(refused)), stream=streamed))
    assert "I cannot help with that." in got.text
    assert got.headers["x-idk-reason"] == "upstream_abstained"


class TestSentOn:
    """What the upstream is asked."""

    @STREAMED
    def test_unknown_fields_pass_and_idk_does_not(self, proxy, upstream, streamed):
        prompt = upstream.script(answer(SERVED))
        body = asking(
            "policy", prompt, stream=streamed, seed=7, vendor={"deep": [1, {"x": None}]}, user="ü\u2028"
        )
        proxy.post({**body, "idk": {"threshold": 0.5}})
        assert upstream.call(prompt).json == {**body, "logprobs": True}

    def test_idk_does_not_where_the_route_is_off(self, proxy, upstream):
        prompt = upstream.script(answer(SERVED))
        assert proxy.post(asking("off", prompt, idk={"threshold": 0.5})).status_code == 200
        assert "idk" not in upstream.call(prompt).json

    def test_the_clients_headers_stay_behind(self, proxy, upstream):
        prompt = upstream.script(answer(SERVED))
        headers = {"authorization": "Bearer mine", "x-idk-route": "observe", "cookie": "a=b"}
        proxy.post(asking("observe", prompt), headers=headers)
        call = upstream.call(prompt)
        assert "mine" not in str(call.headers)
        assert not [name for name in call.headers if name.startswith("x-idk") or name == "cookie"]

    def test_the_upstreams_key_is_sent(self, proxy, upstream):
        prompt = upstream.script(answer(SERVED))
        proxy.post(asking("keyed", prompt), headers={"authorization": "Bearer mine"})
        assert upstream.call(prompt).headers["authorization"] == "Bearer sk-secret-of-the-upstream"

    @pytest.mark.parametrize("model", ["alias-1", "alias-2/x", "renamed"])
    def test_the_model_and_parameters_are_the_routes(self, proxy, upstream, model):
        prompt = upstream.script(answer(SERVED))
        got = proxy.post(asking(model, prompt, temperature=1.5, top_p=0.9))
        sent = upstream.call(prompt).json
        assert (sent["model"], sent["temperature"], sent["top_p"]) == ("real", 0.5, 0.9)
        assert got.headers["x-idk-route"] == "renamed"

    def test_x_idk_route_does_not_carry_a_model_past_the_routes_models(self, proxy, upstream):
        got = proxy.post(asking("enforce", "?"), headers={"x-idk-route": "observe"})
        assert (got.status_code, got.json()["error"]["code"]) == (404, "model_not_found")

    def test_the_scorers_alternatives_are_asked_for(self, proxy, upstream):
        prompt = upstream.script(answer(SERVED))
        proxy.post(asking("entropy", prompt))
        assert upstream.call(prompt).json["top_logprobs"] == 5


def test_logprobs_that_a_probe_found_missing_are_not_asked_for(proxy: Proxy, upstream: FakeUpstream):
    """A refused request is sent again without logprobs; a probe of the proxy then shows that they are missing."""

    async def refusing(call: Call, peer: Peer) -> None:
        refused = call.json["model"] == "bare" and "logprobs" in call.json
        await (error(400, "no such parameter") if refused else answer(SERVED))(call, peer)

    upstream.script(refusing, prompt=QUESTION)
    first, second = upstream.script(refusing), upstream.script(refusing)
    assert proxy.post(asking("bare", first)).headers["x-idk-reason"] == "unmeasured"
    assert ["logprobs" in call.json for call in upstream.calls(first)] == [True, False]
    proxy.says("a probe confirmed that it does not accept logprobs (model 'bare'")
    assert proxy.post(asking("bare", second)).headers["x-idk-reason"] == "unmeasured"
    assert ["logprobs" in call.json for call in upstream.calls(second)] == [False]


def test_a_held_stream_is_kept_alive(proxy: Proxy, upstream: FakeUpstream):
    """Comments come while the answer waits; its headers went with the first, so the decision is in the body."""
    prompt = upstream.script(answer(SERVED, stop_at=2))
    with proxy.open(asking("enforce", prompt, stream=True)) as connection:
        seen = b""
        while b": keep-alive\n\n" not in seen:
            seen += connection.recv(65_536)
        assert b"Par" not in seen
        upstream.call(prompt).released.set()
        seen += b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b"x-idk-decision" not in seen
    assert b'"decision":"answer"' in seen
    assert seen.count(b"data: [DONE]") == 1


def test_observed_chunks_flow_as_they_come(proxy: Proxy, upstream: FakeUpstream):
    prompt = upstream.script(answer(SERVED, stop_at=2))
    with proxy.open(asking("observe", prompt, stream=True)) as connection:
        seen = b""
        while b'"Par"' not in seen:
            seen += connection.recv(65_536)
        assert not upstream.call(prompt).released.is_set()
        upstream.call(prompt).released.set()
        seen += b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b'"idk":' in seen


@pytest.mark.parametrize("model", ["enforce", "observe"])
def test_events_cut_anywhere_are_put_together(proxy: Proxy, upstream: FakeUpstream, model):
    """Pieces of a stream end where they like, within a character too; comments and CRLF are SSE as well."""
    tokens = [{"token": "é", "logprob": -0.1}]
    choice = {"index": 0, "delta": {"content": "é"}, "logprobs": {"content": tokens}, "finish_reason": "stop"}
    chunk = json.dumps({"id": "x", "choices": [choice]}, ensure_ascii=False)
    whole = f": hello\r\n\r\nevent: message\r\ndata: {chunk}\r\n\r\ndata: [DONE]\r\n\r\n".encode()
    prompt = upstream.script(stream(*(bytes([byte]) for byte in whole)))
    chunks = events(proxy.post(asking(model, prompt, stream=True)))
    assert "".join(c["delta"].get("content") or "" for e in chunks for c in e["choices"]) == "é"
    assert chunks[-1]["idk"]["choices"][0]["score"] == pytest.approx(-0.1)
