"""The endpoint of a gated path: its answers, streams and errors."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.upstreams.probes import QUESTION
from tests.fakes import answer, error, held, raw, says, stream
from tests.proxy.probing import learns, probe_replies

RAW = {"name": "r", "mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -1.0}
OBSERVE = {"name": "r", "scorers": ["mean_logprob"]}
SURE = says("Par", "is", logprob=-0.1)
UNSURE = says("Ly", "on", logprob=-3.0)


async def test_a_confident_answer_goes_out_with_its_verdict(serving, upstream):
    prompt = upstream.script(answer(SURE))
    async with serving(RAW) as proxy:
        reply = await proxy.chat(prompt)
        assert reply.status == 200
        assert reply.json["choices"][0]["message"]["content"] == "Paris"
        assert reply.json["idk"]["choices"][0]["reason"] == "confident"
        assert reply.headers["x-idk-route"] == "r"
        assert reply.headers["x-idk-decision"] == "answer"
        assert reply.headers["x-idk-reason"] == "confident"
        assert "x-idk-confidence" not in reply.headers  # there is none without a policy
        assert reply.headers["x-request-id"].startswith("idk-")
        assert proxy.count("idk_request_duration_seconds_count", route="r") == 1
        assert proxy.count("idk_overhead_seconds_count", route="r") == 1
        assert proxy.count("idk_upstream_duration_seconds_count", upstream="u") == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_several_choices_stand_comma_separated_in_the_headers(serving, upstream, streamed):
    prompt = upstream.script(answer(SURE, UNSURE))
    async with serving(RAW) as proxy:
        reply = await proxy.chat(prompt, n=2, stream=streamed)
    assert reply.headers["x-idk-decision"] == "answer,abstain"
    assert reply.headers["x-idk-reason"] == "confident,below_threshold"
    assert b"Ly" not in reply.body
    assert reply.ended


async def test_confidences_stand_in_the_headers_where_there_is_a_policy(serving, upstream, tmp_path):
    from tests.proxy.policies import POLICY

    (tmp_path / "p.json").write_text(json.dumps({**POLICY.to_dict(), "fingerprint": {}}))
    prompt = upstream.script(answer(SURE, says("?", logprob=-2.0), says("!", logprobs='"none"')))
    async with serving({"name": "r", "mode": "enforce", "policy": "p.json"}) as proxy:
        reply = await proxy.chat(prompt, n=3)
    first, second, third = (choice["confidence"] for choice in reply.json["idk"]["choices"])
    assert reply.headers["x-idk-confidence"] == f"{first:.4f},{second:.4f},"
    assert third is None


async def test_an_observed_stream_begins_before_its_verdict(serving, upstream):
    prompt = upstream.script(answer(UNSURE))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.chat(prompt, stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "x-idk-decision" not in reply.headers
    assert b'"decision":"answer"' in reply.body
    assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_the_upstreams_limits_are_passed_on_and_its_other_headers_stay(serving, upstream):
    headers = {
        "x-ratelimit-remaining": "7",
        "openai-processing-ms": "12",
        "set-cookie": "a=b",
        "x-request-id": "theirs",
    }
    body = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}}]}'
    prompt = upstream.script(raw(body, headers=headers))
    async with serving(RAW) as proxy:
        reply = await proxy.chat(prompt)
    assert reply.headers["x-ratelimit-remaining"] == "7"
    assert reply.headers["openai-processing-ms"] == "12"
    assert "set-cookie" not in reply.headers
    assert reply.headers["x-request-id"].startswith("idk-")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_posts_are_taken(serving, method):
    async with serving(RAW) as proxy:
        reply = await proxy.ask("/v1/chat/completions", method=method)
    assert (reply.status, reply.json["error"]["type"]) == (405, "invalid_request_error")


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_upstreams_error_is_the_clients_and_is_counted(serving, upstream, streamed):
    prompt = upstream.script(error(429, "too many", code="rate_limit", headers={"retry-after": "0.2"}))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.chat(prompt, stream=streamed)
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="status") == 1
    assert reply.status == 429
    assert (reply.json["error"]["message"], reply.json["error"]["code"]) == ("too many", "rate_limit")
    assert reply.headers["retry-after"] == "1"  # whole seconds, and never 0


@pytest.mark.parametrize(("body", "status", "message"), [
    (b'{"error": {"message": "too many requests", "code": 429}}', 429, "too many requests"),
    (b'{"error": "no model is loaded"}', 502, "no model is loaded"),
    (b'{"detail": [{"loc": ["body", "n"], "msg": "too large"}]}', 502, "n: too large"),
    (b'[{"error": {"message": "quota", "code": 403}}]', 403, "quota"),
    (b'{"error": {"message": "Bearer sk-secret123 is wrong"}}', 502, "[redacted] is wrong"),
])  # fmt: skip
async def test_an_error_with_status_200_is_the_upstreams_error(serving, upstream, body, status, message):
    prompt = upstream.script(raw(body, 200))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.chat(prompt)
    assert (reply.status, reply.json["error"]["message"]) == (status, message)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Rate limit reached for gpt-4o in organization org-1: SECRET", "Rate limit reached"),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens. SECRET",
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        ),
        (
            "cannot parse SECRET",
            "the upstream answered 400; its message is not shown because this route enforces",
        ),
    ],
)
async def test_a_route_that_enforces_shows_known_messages_of_upstreams_only(
    serving, upstream, message, shown, streamed
):
    prompt = upstream.script(error(400, message, code="some_code", param="prompt", type="some_type"))
    async with serving(RAW) as proxy:
        reply = await proxy.chat(prompt, stream=streamed)
    told = reply.json["error"]
    assert reply.status == 400
    assert told == {"message": shown, "code": "some_code", "param": "prompt", "type": "some_type"}
    assert b"SECRET" not in reply.body


@pytest.mark.parametrize(("route", "status"), [(RAW, 502), (OBSERVE, 200)])
async def test_a_stream_that_is_cut_ends_in_an_error(serving, upstream, route, status):
    prompt = upstream.script(answer(SURE, stop_at=2, then="cut"))
    async with serving(route) as proxy:
        reply = await proxy.chat(prompt, stream=True)
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="cut") == 1
    assert reply.status == status
    assert reply.ended
    assert b'"error"' in reply.body
    assert b"[DONE]" not in reply.body


async def test_no_secret_stands_in_an_error_inside_a_stream(serving, upstream):
    text = f"Bearer sk-secret123 is wrong at {upstream.base_url}"
    prompt = upstream.script(stream(b'data: {"error": {"message": "%s"}}\n\n' % text.encode()))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.chat(prompt, stream=True)
    assert reply.json["error"]["message"] == "[redacted] is wrong at http://[redacted]/v1"


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_upstream_that_refuses_logprobs_is_asked_without_and_remembered(serving, upstream, streamed):
    refusal = error(400, "logprobs are not supported by this model")
    prompt = upstream.script(refusal, answer(SURE))
    probe_replies(upstream, "logprobs")
    async with serving({**OBSERVE}) as proxy:
        first = await proxy.chat(prompt, stream=streamed)
        await learns(proxy, "logprobs")
        second = await proxy.chat(prompt, stream=streamed)
    assert (first.status, second.status) == (200, 200)
    assert ["logprobs" in call.json for call in upstream.calls(prompt)] == [True, False, False]
    assert b'"reason":"unmeasured"' in first.body


async def test_a_client_that_asks_for_them_itself_gets_the_refusal(serving, upstream):
    prompt = upstream.script(error(400, "logprobs are not supported by this model"))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.chat(prompt, logprobs=True)
        assert (reply.status, len(upstream.calls(prompt))) == (400, 1)
        assert (await proxy.chat(upstream.script(error(400, "no such thing")))).status == 400


@pytest.mark.parametrize("echo", ["logprobs are not supported", "unrecognized argument"])
async def test_one_clients_refusal_changes_nothing_for_others(serving, upstream, echo):
    """Whatever the error says: only a probe of the proxy itself can show that the upstream lacks logprobs."""

    async def refusing(call, peer):
        await (error(400, echo) if call.json.get("logprobs") else answer(SURE))(call, peer)

    upstream.script(answer(SURE), prompt=QUESTION)
    attack, question = upstream.script(refusing), upstream.script(answer(UNSURE))
    async with serving({**RAW, "on_unmeasured": "answer"}) as proxy:
        theirs = await proxy.chat(attack)
        assert theirs.json["idk"]["choices"][0]["reason"] == "unmeasured"
        assert (
            theirs.json["idk"]["choices"][0]["decision"] == "abstain"
        )  # nothing confirmed that it is the upstream
        mine = await proxy.chat(question)
        assert upstream.call(question).json["logprobs"] is True
        assert mine.json["idk"]["choices"][0]["reason"] == "below_threshold"
        assert proxy.count("idk_upstream_abilities", upstream="u", ability="logprobs") == 1


async def test_missing_logprobs_that_a_probe_confirmed_leave_it_to_the_route(serving, upstream):
    async def refusing(call, peer):
        await (error(400, "no") if call.json.get("logprobs") else answer(SURE))(call, peer)

    probe_replies(upstream, "logprobs")
    async with serving({**RAW, "on_unmeasured": "answer"}) as proxy:
        for _ in range(2):
            reply = await proxy.chat(upstream.script(refusing))
            assert reply.json["idk"]["choices"][0]["decision"] == "answer"


async def test_a_hopeless_stream_is_cancelled(serving, upstream):
    route = {**RAW, "scorers": ["min_logprob"]}
    prompt = upstream.script(answer(says(*"abcdef", logprob=-5.0), stop_at=5))
    async with serving(route) as proxy:
        reply = await proxy.chat(prompt, stream=True)
        assert proxy.count("idk_upstream_cancelled_total", route="r", cause="abstained") == 1
    assert upstream.call(prompt).was_left()
    assert b"I don't know." in reply.body
    assert reply.headers["x-idk-decision"] == "abstain"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_cancels_the_upstream(serving, upstream, streamed):
    prompt = upstream.script(held())
    leaves = asyncio.Event()
    async with serving(RAW) as proxy:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": streamed}
        asking = asyncio.create_task(proxy.ask("/v1/chat/completions", body, leaves=leaves))
        call = await asyncio.to_thread(upstream.call, prompt)
        leaves.set()
        reply = await asking
        assert proxy.count("idk_upstream_cancelled_total", route="r", cause="disconnect") == 1
        assert proxy.count("idk_request_duration_seconds_count", route="r") == 0
    assert await asyncio.to_thread(call.was_left)
    assert reply.messages == []


async def test_a_client_that_leaves_before_its_body_has_come_is_forgotten(serving):
    async with serving(RAW) as proxy:
        sent = []

        async def receive():
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        await proxy.app(scope, receive, sent.append)
    assert sent == []


async def test_a_body_over_the_limit(serving):
    async with serving(RAW, server={"max_body_bytes": 1_024}) as proxy:
        reply = await proxy.chat("x" * 1_024)
    assert (reply.status, reply.json["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_over_the_limit(serving, upstream, streamed):
    prompt = upstream.script(answer(says("x" * 2_000)))
    async with serving(RAW, server={"max_answer_bytes": 1_024}) as proxy:
        reply = await proxy.chat(prompt, stream=streamed)
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="too_large") == 1
    assert reply.status == 502


async def test_a_route_may_be_named(serving, upstream):
    prompt = upstream.script(answer(UNSURE))
    async with serving(OBSERVE, {**RAW, "name": "strict"}) as proxy:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        reply = await proxy.ask("/chat/completions", body, headers={"x-idk-route": "strict"})
        unknown = await proxy.ask("/chat/completions", body, headers={"x-idk-route": "none"})
    assert reply.headers["x-idk-route"] == "strict"
    assert reply.headers["x-idk-decision"] == "abstain"
    assert unknown.status == 404


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_route_that_is_off_passes_the_upstreams_bytes(serving, upstream, streamed):
    prompt = upstream.script(answer(UNSURE))
    async with serving({"name": "r", "mode": "off"}) as proxy:
        reply = await proxy.chat(prompt, stream=streamed, idk={"threshold": 0.5})
        assert proxy.count("idk_requests_total", route="r", decision="answer", reason="off") == 1
    assert b'"idk"' not in reply.body
    assert (reply.headers["x-idk-decision"], reply.headers["x-idk-reason"]) == ("answer", "off")
    assert "logprobs" not in upstream.call(prompt).json
    assert "idk" not in upstream.call(prompt).json


async def test_a_threshold_that_the_route_does_not_take(serving):
    async with serving(RAW) as proxy:
        for streamed in (False, True):
            reply = await proxy.chat("?", idk={"threshold": 0.5}, stream=streamed)
            assert (reply.status, reply.json["error"]["param"]) == (400, "idk")


async def test_credentials_are_forwarded_where_the_configuration_says_so(serving, upstream):
    prompt = upstream.script(answer(SURE))
    async with serving(OBSERVE, upstream={"auth": "forward"}) as proxy:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        await proxy.ask("/v1/chat/completions", body, headers={"authorization": "Bearer mine"})
    assert upstream.call(prompt).headers["authorization"] == "Bearer mine"


async def test_responses_are_counted_by_route_status_and_code(serving, upstream):
    upstream.serve("/v1/embeddings", raw(b"{}"))
    async with serving(RAW) as proxy:
        await proxy.chat(upstream.script(answer(SURE)))
        await proxy.chat(upstream.script(error(500, "down")))
        await proxy.ask("/v1/embeddings", {"model": "m"})
        await proxy.ask("/v1/infill", {"model": "m"})
        await proxy.ask("/v1/chat/completions", b"{")
        assert {
            labels: proxy.count("idk_responses_total", route=labels[0], status=labels[1], code=labels[2])
            for labels in (
                ("r", "200", ""), ("r", "500", "upstream_status"), ("r", "403", "ungated_path"),
                ("", "400", "invalid_request_error"),
            )
        } == {
            ("r", "200", ""): 2, ("r", "500", "upstream_status"): 1, ("r", "403", "ungated_path"): 1,
            ("", "400", "invalid_request_error"): 1,
        }  # fmt: skip
        assert b"idk_build_info{version=" in (await proxy.ask("/metrics", method="GET")).body
