"""What can go wrong, on either side: the right status in the vendor's shape, nothing hung, nothing told."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tests.e2e.proxies import asking
from tests.fakes import DEADLINE_S, answer, error, held, raw, says, stream

if TYPE_CHECKING:
    from tests.e2e.proxies import Proxy
    from tests.fakes import FakeUpstream

SAID = says("Par", "is")
STREAMED = pytest.mark.parametrize("streamed", [False, True])
GATES = pytest.mark.parametrize("model", ["enforce", "observe", "off"])


def refused(got: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """Check that the response is an error of this status in OpenAI's shape, whose message contains the words."""
    assert got.status_code == status, got.text[:1_000]
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-request-id"].startswith("idk-")
    assert list(got.json()) == ["error"]
    found = got.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert isinstance(found["message"], str)
    assert isinstance(found["type"], str)
    for word in words:
        assert word in found["message"]
    return found


GOOD = {"model": "enforce", "messages": [{"role": "user", "content": "?"}]}

BAD_REQUESTS: dict[str, tuple[Any, str]] = {
    "empty": (b"", "JSON"),
    "not JSON": (b"{'model': 'x'}", "JSON"),
    "half": (b'{"model": "enforce", "messages": [', "JSON"),
    "after the end": (json.dumps(GOOD).encode() + b"}", "JSON"),
    "not UTF-8": (b'{"model": "\xff\xfe", "messages": [{}]}', ""),
    "NaN": (b'{"model": "enforce", "messages": [{}], "temperature": NaN}', "JSON"),
    "a list": ([GOOD], "body"),
    "null": (None, "body"),
    "no messages": ({"model": "enforce"}, "messages"),
    "empty messages": ({**GOOD, "messages": []}, "messages"),
    "messages of text": ({**GOOD, "messages": "hello"}, "messages"),
    "no model": ({"messages": GOOD["messages"]}, "model"),
    "model of a number": ({**GOOD, "model": 7}, "model"),
    "model of null": ({**GOOD, "model": None}, "model"),
    "n of text": ({**GOOD, "n": "two"}, "n"),
    "n of zero": ({**GOOD, "n": 0}, "n"),
    "n too large": ({**GOOD, "n": 1_000_000}, "n"),
    "stream of text": ({**GOOD, "stream": "yes"}, "stream"),
    "too many alternatives": ({**GOOD, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "negative tokens": ({**GOOD, "max_tokens": -1}, "max_tokens"),
    "idk of text": ({**GOOD, "idk": "please"}, "idk"),
    "idk unknown": ({**GOOD, "idk": {"treshold": 0.5}}, "idk"),
    "idk too large": ({**GOOD, "model": "policy", "idk": {"threshold": 1.5}}, "idk"),
    "idk twice": ({**GOOD, "model": "policy", "idk": {"threshold": 0.5, "wrong_cost": 1}}, "idk"),
    "idk not allowed": ({**GOOD, "model": "fixed", "idk": {"threshold": 0.0}}, "allow_override"),
    "idk without a policy": ({**GOOD, "idk": {"threshold": 0.0}}, "idk"),
    "format of text": ({**GOOD, "response_format": "json"}, "response_format"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_says_where(proxy: Proxy, case):
    body, word = BAD_REQUESTS[case]
    found = refused(proxy.post(body if isinstance(body, bytes) else json.dumps(body).encode()), 400, word)
    assert found["type"] == "invalid_request_error"


@pytest.mark.parametrize("opening", [b'{"a":', b"[", b'{"messages":['])
def test_deep_nesting_is_refused(proxy: Proxy, opening):
    body = b'{"model":"enforce","messages":[{}],"x":' + opening * (90_000 // len(opening))
    refused(proxy.post(body), 400)


def test_deep_nesting_that_is_closed_breaks_nothing(proxy: Proxy, upstream: FakeUpstream):
    """Odd but valid input is passed on or rejected; it never causes a defect."""
    prompt = upstream.script(answer(SAID))
    deep = b"[" * 40_000 + b"]" * 40_000
    body = json.dumps(asking("enforce", prompt)).encode()[:-1] + b',"x":' + deep + b"}"
    got = proxy.post(body)
    assert got.status_code in (200, 400, 502), got.text


@pytest.mark.parametrize("model", ["nothing", "", "x" * 5_000, "Enforce", "alias", "../observe"])
def test_an_unknown_model(proxy: Proxy, model):
    found = refused(proxy.post(asking(model, "?")), 404, "model")
    assert (found["param"], found["code"]) == ("model", "model_not_found")


def test_an_unknown_route(proxy: Proxy):
    refused(proxy.post(GOOD, headers={"x-idk-route": "nothing"}), 404, "x-idk-route")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_a_body_over_the_limit(proxy: Proxy, path):
    body = json.dumps({**GOOD, "input": "x" * 200_000}).encode()
    refused(proxy.post(body, path), 413, "max_body_bytes")
    pieces = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    headers = {"content-type": "application/json"}
    unannounced = httpx.post(f"{proxy.url}{path}", content=pieces, headers=headers)
    refused(unannounced, 413, "max_body_bytes")


def test_an_announced_giant_is_refused_unread(proxy: Proxy):
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n"
        )
        assert connection.recv(1_000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_another_method(proxy: Proxy, method):
    refused(httpx.request(method, f"{proxy.url}/v1/chat/completions"), 405, "POST")


@STREAMED
@GATES
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529])
def test_the_upstreams_error_is_passed_on(proxy: Proxy, upstream: FakeUpstream, model, status, streamed):
    prompt = upstream.script(error(status, "the model is overworked", code="tired", param="model"))
    found = refused(proxy.post(asking(model, prompt, stream=streamed)), status)
    assert (found["type"], found["param"], found["code"]) == ("invalid_request_error", "model", "tired")
    # The message may repeat the model's output: only known ones are shown where the route enforces.
    assert found["message"] == (
        "the model is overworked"
        if model != "enforce"
        else f"the upstream answered {status}; its message is not shown because this route enforces"
    )


def test_when_to_come_back_is_passed_on(proxy: Proxy, upstream: FakeUpstream):
    prompt = upstream.script(error(429, "slow down", headers={"retry-after": "17"}))
    assert proxy.post(asking("enforce", prompt)).headers["retry-after"] == "17"


def test_a_passing_failure_is_tried_again(proxy: Proxy, upstream: FakeUpstream):
    once = {"retry-after-ms": "1"}
    prompt = upstream.script(error(503, "busy", headers=once), error(429, "busy", headers=once), answer(SAID))
    assert proxy.post(asking("patient", prompt)).status_code == 200
    assert len(upstream.calls(prompt)) == 3


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b'{"error"', b"[1]", b'{"error": 3}', b"\xff"]
)
def test_an_error_that_is_no_json(proxy: Proxy, upstream: FakeUpstream, body):
    refused(proxy.post(asking("enforce", upstream.script(raw(body, 500)))), 500, "upstream")


@STREAMED
@GATES
def test_no_key_and_no_address_stand_in_an_error(proxy: Proxy, upstream: FakeUpstream, model, streamed):
    address = upstream.base_url.removeprefix("http://").removesuffix("/v1")
    talkative = (
        f"Incorrect API key provided: sk-secret-of-the-upstream (http://{address}/v1/chat); Bearer abc.def"
    )
    model = "keyed" if model == "enforce" else model
    prompt = upstream.script(error(401, talkative))
    sent = proxy.wire(asking(model, prompt, stream=streamed))
    assert sent.startswith(b"HTTP/1.1 401 ")
    for secret in ("sk-secret", address, "abc.def"):
        assert secret.encode() not in sent


@pytest.mark.parametrize("model", ["keyed", "observe"])
@pytest.mark.parametrize("begun", [False, True])
def test_nor_in_one_inside_a_stream(proxy: Proxy, upstream: FakeUpstream, model, begun):
    address = upstream.base_url.removeprefix("http://").removesuffix("/v1")
    failure = f"sk-secret-of-the-upstream failed at {address}"
    first = (
        b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"Par"}}]}\n\n' if begun else b": hi\n\n"
    )
    event = b"data: " + json.dumps({"error": {"message": failure}}).encode() + b"\n\n"
    sent = proxy.wire(asking(model, upstream.script(stream(first, event)), stream=True))
    assert (b"failed at" in sent) == (model == "observe")
    assert b"sk-secret" not in sent
    assert address.encode() not in sent


@STREAMED
@pytest.mark.parametrize("model", ["nobody", "nobody-observe"])
def test_an_upstream_that_is_down(proxy: Proxy, model, streamed):
    before = proxy.metric("idk_upstream_errors_total", upstream="nobody", kind="connect")
    got = proxy.post(asking(model, "?", stream=streamed))
    found = refused(got, 502)
    assert "127.0.0.1" not in found["message"]
    after = proxy.metric("idk_upstream_errors_total", upstream="nobody", kind="connect")
    assert after == before + 1


@STREAMED
@pytest.mark.parametrize("model", ["hasty", "hasty-observe"])
def test_an_upstream_that_is_slow(proxy: Proxy, upstream: FakeUpstream, model, streamed):
    prompt = upstream.script(held())
    refused(proxy.post(asking(model, prompt, stream=streamed)), 504)
    assert upstream.call(prompt).was_left()


BROKEN = {
    "half a JSON": raw(b'{"id": "x", "choices": [{"index": 0, "mess'),
    "cut short": raw(b'{"id": "x", "choices": [{"index": 0, "mess', missing=50),
    "nothing": raw(b""),
    "HTML": raw(b"<html>hello</html>"),
    "a deep hole": raw(b'{"choices": ' + b"[" * 50_000),
    "a redirect": raw(b"", 302, headers={"location": "http://127.0.0.1:9/"}),
}


@pytest.mark.parametrize("model", ["enforce", "observe"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer(proxy: Proxy, upstream: FakeUpstream, case, model):
    found = refused(proxy.post(asking(model, upstream.script(BROKEN[case]))), 502)
    assert found["type"] == "upstream_error"


UNUSUAL = {
    "a list": b"[]",
    "no choices": b'{"id": "x"}',
    "choices of text": b'{"choices": "none"}',
    "no message": b'{"choices": [{"index": 0}]}',
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_answer_is_passed_on_where_it_is_observed(proxy: Proxy, upstream: FakeUpstream, case):
    got = proxy.post(asking("observe", upstream.script(raw(UNUSUAL[case]))))
    assert got.status_code == 200
    found = got.json()
    if isinstance(found, dict):
        assert found.pop("idk")["choices"][0]["reason"] == "unmeasured"
    assert found == json.loads(UNUSUAL[case])


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_answer_is_no_answer_where_it_is_enforced(proxy: Proxy, upstream: FakeUpstream, case):
    got = proxy.post(asking("enforce", upstream.script(raw(UNUSUAL[case]))))
    if case == "no message":
        assert got.json()["choices"][0]["message"]["content"] == "I don't know."
    else:
        assert refused(got, 502)["code"] == "no_choice"


TOKENS = [{"token": "Wzq", "logprob": -0.01}]
CHUNK = {"id": "x", "choices": [{"index": 0, "delta": {"content": "Wzq"}, "logprobs": {"content": TOKENS}}]}
EVENT = b"data: %b\n\n" % json.dumps(CHUNK).encode()
BROKEN_STREAMS = {
    "nothing": ((), True),
    "cut before the first event": ((), False),
    "cut within the first event": ((EVENT[:40],), False),
    "cut after the first event": ((EVENT,), False),
    "ended without an end": ((EVENT,), True),
    "half a JSON": ((EVENT, b'data: {"id":\n\n'), True),
    "an event of text": ((EVENT, b"data: hello\n\n"), True),
    "more choices than asked": ((EVENT, EVENT.replace(b'"index": 0', b'"index": 1')), True),
    "an error": ((EVENT, b'data: {"error":{"message":"out of memory"}}\n\n'), True),
    "an error of text": ((EVENT, b'data: {"error":"out of memory"}\n\n'), True),
    "an endless event": ((EVENT, b"data: " + b"x" * 1_100_000), True),
}


@pytest.mark.parametrize("case", BROKEN_STREAMS)
def test_a_broken_stream_is_an_error_where_it_is_held(proxy: Proxy, upstream: FakeUpstream, case):
    pieces, ended = BROKEN_STREAMS[case]
    got = proxy.post(asking("enforce", upstream.script(stream(*pieces, ended=ended)), stream=True))
    refused(got, 502)
    assert "Wzq" not in got.text


@pytest.mark.parametrize("case", BROKEN_STREAMS)
def test_a_broken_stream_ends_with_an_error_where_it_flows(proxy: Proxy, upstream: FakeUpstream, case):
    """After the first event an error can only be another event: SDKs raise on it, and no answer looks complete."""
    pieces, ended = BROKEN_STREAMS[case]
    prompt = upstream.script(stream(*pieces, ended=ended))
    with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client:

        def consume() -> None:
            messages: list[Any] = [{"role": "user", "content": prompt}]
            list(client.chat.completions.create(model="observe", messages=messages, stream=True))

        with pytest.raises(openai.APIError):
            consume()
    again = upstream.script(stream(*pieces, ended=ended))
    got = proxy.post(asking("observe", again, stream=True))
    if got.status_code == 200:
        assert "[DONE]" not in got.text
        assert '"error":{"message":' in got.text
    else:
        refused(got, 502)


def test_an_error_after_a_keep_alive_is_an_event(proxy: Proxy, upstream: FakeUpstream):
    prompt = upstream.script(answer(SAID, stop_at=2, then="hold, cut"))
    with proxy.open(asking("enforce", prompt, stream=True)) as connection:
        seen = b""
        while b"keep-alive" not in seen:
            seen += connection.recv(65_536)
        upstream.call(prompt).released.set()
        seen += b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b'data: {"error":{"message":' in seen
    assert b"Par" not in seen
    assert b"[DONE]" not in seen


@STREAMED
def test_an_answer_over_the_limit(proxy: Proxy, upstream: FakeUpstream, streamed):
    prompt = upstream.script(answer(says(*["x" * 20_000] * 20)))
    refused(proxy.post(asking("enforce", prompt, stream=streamed)), 502, "larger than")


def test_the_proxy_is_well_after_all_of_it(proxy: Proxy, upstream: FakeUpstream):
    """Last in the file: no defect was logged, and it answers."""
    assert proxy.post(asking("enforce", upstream.script(answer(SAID)))).status_code == 200
    assert "Traceback" not in "".join(proxy.log)
