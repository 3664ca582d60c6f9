"""JSON that is large, deep, broken or strange, on every path: a refusal or an answer, and no defect."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.e2e.proxies import PLAIN, Proxy, asking
from tests.fakes import DEADLINE_S, answer, raw, says, stream
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    from tests.fakes import FakeUpstream

SURFACE = pytest.mark.parametrize("surface", DOORS)
MODEL = pytest.mark.parametrize("model", ["enforce", "chats"])
#: What a request that is no good, or that the fake upstream does not take, may get; 502 is the upstream's.
FINE: Final = (200, 400, 404, 413, 422, 502)


def base(surface: str, model: str, prompt: str) -> dict[str, Any]:
    return {"model": model, **DOORS[surface].asks(prompt)}


def with_field(body: dict[str, Any], text: bytes) -> bytes:
    """Return the body with one more field, byte for byte."""
    return json.dumps(body).encode()[:-1] + b"," + text + b"}"


def sent(target: Proxy, surface: str, body: bytes | dict[str, Any]) -> httpx.Response:
    return target.post(body, DOORS[surface].path)


def ours(got: httpx.Response, *statuses: int) -> None:
    """Assert that the status is one of these, and that an error has the vendor's shape."""
    assert got.status_code in statuses, got.text[:500]
    if got.status_code != 200:
        assert got.json()["error"]["message"]
        assert "Traceback" not in got.text


NESTED: Final = {
    "lists": (b"[", b"]"),
    "objects": (b'{"a":', b"}"),
    "contents": (b'{"type":"text","text":"x","content":[', b"]}"),
}


@SURFACE
@MODEL
@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("place", ["x", "metadata", "tools", "response_format", "logit_bias", "idk", "own"])
def test_nesting_is_bounded(target: Proxy, upstream: FakeUpstream, surface, model, kind, place):
    """At every depth near to what the reader itself can follow, and far beyond it."""
    begin, end = NESTED[kind]
    for depth in (50, 400, 900, 955, 970, 980, 985, 990, 995, 1_000, 100_000):
        deep = begin * depth + (b"1" if kind == "objects" else b"") + end * depth
        prompt = upstream.script(answer(says("Par", "is")))
        body = base(surface, model, prompt)
        if place == "own":
            own = next(name for name in ("messages", "prompt", "input") if name in body)
            text = json.dumps({name: value for name, value in body.items() if name != own}).encode()[:-1]
            ours(sent(target, surface, text + b',"%b":[' % own.encode() + deep + b"]}"), *FINE)
        else:
            ours(sent(target, surface, with_field(body, b'"%b":' % place.encode() + deep)), *FINE)


BROKEN_TEXT: Final = {
    "bytes that are no UTF-8": b"\xff\xfe\xfa",
    "an overlong slash": b"\xc0\xaf",
    "half a character": b"\xe2\x82",
    "a surrogate in UTF-8": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf5\x80\x80\x80",
    "half a pair": rb"\ud800",
    "a pair in the wrong order": rb"\udc00\ud800",
    "a zero": rb"\u0000",
    "a raw zero": b"\x00",
    "a raw line's end": b"\n",
    "an escape that is none": rb"\x41",
    "an escape too short": rb"\u12",
}


@SURFACE
@MODEL
@pytest.mark.parametrize("case", BROKEN_TEXT)
def test_text_that_is_none(target: Proxy, upstream: FakeUpstream, surface, model, case):
    prompt = upstream.script(answer(says("x")))
    whole = json.dumps(base(surface, model, prompt)).encode()
    broken = BROKEN_TEXT[case]
    for body in (
        whole.replace(prompt.encode(), broken),
        whole.replace(b'"model"', b'"%b":1,"model"' % broken),
        whole.replace(model.encode(), broken),
        with_field(base(surface, model, prompt), b'"user":"%b"' % broken),
        with_field(base(surface, model, prompt), b'"idk":{"context":["%b"]}' % broken),
    ):
        ours(sent(target, surface, body), *FINE)


@SURFACE
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_byte_order_marks(target: Proxy, surface, mark):
    ours(sent(target, surface, mark + json.dumps(base(surface, "enforce", "?")).encode()), 400)
    ours(sent(target, surface, json.dumps(base(surface, "enforce", "?")).encode("utf-16")), 400)


NUMBERS: Final = [
    b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e999", b"-1e999", b"1e-999", b"9" * 400, b"9" * 5_000, b"-0",
    b"0.0",
    b"1." + b"1" * 5_000, b"9223372036854775807", b"9223372036854775808", b"18446744073709551616",
    b"-9223372036854775809",
    b"1e308", b"01", b"+1", b".5", b"1.", b"0x1", b"1e", b"true", b'"1"', b"null", b"[]", b"{}", b'""', b"-1",
]  # fmt: skip
FIELDS: Final = [
    "n", "best_of", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p",
    "presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs", "stop", "logit_bias", "tools",
    "functions",
    "tool_choice", "response_format", "stream_options", "user", "metadata", "store", "messages", "prompt", "input",
    "instructions", "system", "include", "text", "reasoning", "thinking", "echo", "suffix", "model", "idk",
    "output_config",
    "previous_response_id", "background", "conversation", "modalities", "audio",
]  # fmt: skip


@SURFACE
@MODEL
@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_every_wrong_kind(target: Proxy, upstream: FakeUpstream, surface, model, field):
    prompt = upstream.script(answer(says("x")))
    body = {name: value for name, value in base(surface, model, prompt).items() if name != field}
    with httpx.Client(timeout=DEADLINE_S, **PLAIN) as client:
        for number in NUMBERS:
            content = with_field(body, b'"%b":%b' % (field.encode(), number))
            ours(client.post(f"{target.url}{DOORS[surface].path}", content=content), *FINE)


@SURFACE
@pytest.mark.parametrize("number", NUMBERS)
def test_thresholds_of_every_wrong_kind(target: Proxy, surface, number):
    """No such threshold lets anything out: the route allows no override at all."""
    for field in (b"threshold", b"wrong_cost", b"context"):
        got = sent(
            target, surface, with_field(base(surface, "enforce", "?"), b'"idk":{"%b":%b}' % (field, number))
        )
        ours(got, 400, 404)


@SURFACE
@MODEL
def test_doubled_keys_are_read_once(target: Proxy, upstream: FakeUpstream, surface, model):
    """What is gated is what the upstream is sent: the last of each, and only that."""
    prompt = upstream.script(answer(says("Ly", "on", logprob=-3.0)))
    body = base(surface, model, prompt)
    doubled = (
        b'{"model":"off","stream":true,"messages":[],"prompt":"?","input":"?","n":3,'
        + json.dumps(body).encode()[1:]
    )
    got = sent(target, surface, with_field({}, b"")[:0] + doubled[:-1] + b',"stream":false,"n":1}')
    ours(got, 200, 400)
    for call in upstream.calls(prompt):
        keys = [key for key, _ in json.loads(call.body, object_pairs_hook=list)]
        assert len(keys) == len(set(keys))
        assert call.json["model"] == model
    if got.status_code == 200 and DOORS[surface].logprobs:
        assert "Ly" not in got.text


LARGE: Final = {
    "a text": lambda: ("x" * 3_000_000, {}),
    "a text of escapes": lambda: ('\n"\\' * 500_000, {}),
    "a text beyond ASCII": lambda: ("д" * 1_000_000, {}),
    "a key": lambda: ("?", {"k" * 3_000_000: 1}),
    "a model": lambda: ("?", {"model": "m" * 3_000_000}),
    "keys": lambda: ("?", {f"k{number}": 1 for number in range(300_000)}),
    "a few thousand keys": lambda: ("?", {f"k{number}": 1 for number in range(5_000)}),
    "numbers": lambda: ("?", {"x": [1] * 1_000_000}),
    "objects": lambda: ("?", {"x": [{}] * 1_000_000}),
    "lists": lambda: ("?", {"x": [[]] * 1_000_000}),
    "tools": lambda: ("?", {"tools": [{"type": "function", "function": {"name": "f"}}] * 50_000}),
    "a number": lambda: ("?", {"x": 10**4_000}),
}


@SURFACE
@MODEL
@pytest.mark.parametrize("case", LARGE)
def test_large_bodies(target: Proxy, upstream: FakeUpstream, surface, model, case):
    prompt, fields = LARGE[case]()
    upstream.script(answer(says("x")), prompt=prompt)
    started = time.monotonic()
    got = sent(target, surface, json.dumps({**base(surface, model, prompt), **fields}).encode())
    ours(got, *FINE)
    assert time.monotonic() - started < DEADLINE_S
    if case in ("keys", "objects", "tools", "numbers", "lists"):
        assert got.status_code == 413
        assert "max_body_strings" in got.json()["error"]["message"]


@SURFACE
@MODEL
@pytest.mark.parametrize("count", [4_000, 100_000])
def test_thousands_of_messages(target: Proxy, upstream: FakeUpstream, surface, model, count):
    prompt = upstream.script(answer(says("Par", "is")))
    body = base(surface, model, prompt)
    if "messages" in body:
        body["messages"] = [
            {"role": ("user", "assistant")[n % 2], "content": "x"} for n in range(count)
        ] + body["messages"]
    elif "input" in body:
        body["input"] = [{"role": "user", "content": "x"}] * count + [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = [prompt] * count
    got = sent(target, surface, body)
    ours(got, *FINE)
    assert count == 4_000 or got.status_code in (400, 413)


@SURFACE
@pytest.mark.parametrize("n", [2, 128, 129, 100_000, 2**63, 10**30, -1, 0, 1.5, "2", None, True])
def test_as_many_choices_as_one_likes(target: Proxy, upstream: FakeUpstream, surface, n):
    prompt = upstream.script(answer(*[says("Par", "is")] * 128))
    got = sent(target, surface, {**base(surface, "enforce", prompt), "n": n})
    ours(got, *FINE)


@pytest.mark.parametrize("body", [
    b"", b"null", b"[]", b"1", b'"x"', b"{", b"{}", b"[" * 9_000, b'{"id":' * 1_500, b'{"id":NaN}', b'{"id":1e999}',
    b'{"id":"\xff"}', b'{"id":"\\ud800","label":"correct"}', b'{"id":"","label":"correct"}',
    b'{"id":"x","label":"right"}',
    b'{"id":"x","label":"correct","choice":1e999}', b'{"id":"x","label":"correct","choice":-1}',
    b'{"id":"x","label":null}',
    b'{"id":"x","label":"correct","choice":99999999999999999999}', b'{"id":"x\\u0000","label":"correct"}',
    b'{"id":"x","id":"y","label":"correct"}', b'{"id":"' + b"x" * 9_000 + b'","label":"correct"}', b"x" * 20_000,
    b'{"id":"\' OR 1=1 --","label":"correct"}', b'{"id":"x","label":"correct","who":"me"}',
])  # fmt: skip
def test_feedback(target: Proxy, body):
    ours(target.post(body, "/v1/feedback"), 400, 404, 413)


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/rerank", "/v1/audio/speech", "/v1/images/generations"]
)
@pytest.mark.parametrize("body", [
    b"", b"null", b"[]", b"{", b"[" * 100_000, b'{"x":' * 100_000, b'{"model":NaN}', b'{"model":1}', b'{"model":{}}',
    b'{"model":"\xff"}', b'{"model":"\\ud800"}', b'{"model":"' + b"x" * 2_000_000 + b'"}',
    b'{"model":"enforce","model":1}',
    b'{"model":"nothing"}', b'{"model":"\\u0000"}', b'{"x":' + b"9" * 5_000 + b"}",
])  # fmt: skip
def test_what_is_passed_through(target: Proxy, path, body):
    got = target.post(body, path)
    assert got.status_code in (400, 404, 413, 502), got.text  # 404: the fake upstream's


@pytest.mark.parametrize("kind", [
    "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x",
    'multipart/form-data; boundary="x',
    "multipart/form-data; boundary=" + "x" * 300, "multipart/form-data; boundary=x; boundary=y",
])  # fmt: skip
@pytest.mark.parametrize("body", [
    b"", b"--x--\r\n", b"--x\r\n", b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n',
    b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n\xff\xfe\r\n--x--\r\n',
    b'name="model"\r\na: b\r\n' * 4_000,
    b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nnothing\r\n--x--\r\n', b"--x\r\n" * 20_000,
    b"--x\r\n" + b"content-disposition: form-data; " + b'name="model";' * 9_000, b"\r\n" * 60_000, b"-" * 100_000,
])  # fmt: skip
def test_forms(target: Proxy, kind, body):
    got = target.post(body, "/v1/audio/transcriptions", headers={"content-type": kind})
    assert got.status_code in (400, 404, 502), got.text


def test_a_form_that_comes_byte_by_byte(target: Proxy):
    """Looking for its model after each byte would take the square of its length."""
    host, port = target.url.removeprefix("http://").split(":")
    filler = b'name="model"\r\na: b\r\n' * 1_500
    head = (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n"
        b"content-type: multipart/form-data; boundary=x\r\n\r\n" % len(filler)
    )
    with socket.create_connection((host, int(port)), DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head)
        for start in range(0, len(filler), 7):
            connection.sendall(filler[start : start + 7])
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", [
    "/routes", "/routes/enforce", "/routes/nothing", "/routes/%00", "/decisions?limit=-1", "/decisions?limit=1e999",
    "/decisions?since=nan", "/decisions?cursor=%ff", "/queue?limit=99999999999999999999", "/policies/x/rollback",
    "/estimate",
    "/labels", "/" + "x" * 5_000, "/%2e%2e/%2e%2e/etc/passwd", "/routes/enforce/estimate?threshold=nan",
    "/routes/enforce/estimate?wrong_cost=1e999", "/routes/enforce/estimate?target_risk=-inf",
])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_the_admins_doors(target: Proxy, path, method):
    bodies = [
        None,
        b"",
        b"null",
        b"{",
        b"[" * 50_000,
        b'{"label":NaN}',
        b'{"id":"\xff"}',
        b'{"threshold":1e999}',
    ]
    for key in ("the-admins", "wrong\xff", "x" * 9_000):
        headers = {"authorization": f"Bearer {key}".encode("latin-1"), "content-type": b"application/json"}
        for body in bodies if key == "the-admins" else bodies[:1]:
            got = httpx.request(
                method,
                f"{target.url}/admin/api{path}",
                content=body,
                headers=headers,
                timeout=DEADLINE_S,
                **PLAIN,
            )
            assert got.status_code < 500 or got.status_code == 503, got.text[:300]


@pytest.mark.parametrize("model", ["a" * 1_000 + "c", "a" * 1_024, "xa" * 500, "-a*c" * 200])
def test_the_routes_patterns_take_no_time(target: Proxy, model):
    """A model's name against wildcards that would be tried in exponentially many ways."""
    started = time.monotonic()
    got = target.post(asking(model, "?"))
    assert got.status_code in (404, 502)
    assert time.monotonic() - started < DEADLINE_S


@pytest.mark.parametrize(
    "text", ["a" * 200_000 + "!", "<context>" + "a" * 200_000, "<context>a" * 20_000, "<context>" * 50_000]
)
def test_the_contexts_pattern_takes_no_time(target: Proxy, upstream: FakeUpstream, text):
    """Nested repetitions, which Python's own expressions try in exponentially many ways."""
    prompt = upstream.script(answer(says("Par", "is")), prompt=text)
    started = time.monotonic()
    got = target.post(asking("passages", prompt))
    assert got.status_code == 200
    assert time.monotonic() - started < DEADLINE_S


CHOICE: Final = (
    '{"index":%s,"message":{"role":"assistant","content":"Lyon"},"logprobs":%s,"finish_reason":"stop"}'
)
ANSWERS: Final = {
    "ten thousand choices": b'{"choices":[%b]}' % ",".join([CHOICE % (0, "null")] * 10_000).encode(),
    "choices by many indices": b'{"choices":[%b]}' % ",".join(CHOICE % (n, "null") for n in range(5_000)).encode(),
    "an index beyond numbers": b'{"choices":[%b]}' % (CHOICE % ("9" * 50, "null")).encode(),
    "a negative index": b'{"choices":[%b]}' % (CHOICE % (-1, "null")).encode(),
    "an index of text": b'{"choices":[%b]}' % (CHOICE % ('"0"', "null")).encode(),
    "deep logprobs": b'{"choices":[%b]}' % (CHOICE % (0, "[" * 5_000 + "]" * 5_000)).encode(),
    "logprobs nearly too deep": b'{"choices":[%b]}' % (CHOICE % (0, "[" * 970 + "]" * 970)).encode(),
    "a deep answer": b'{"choices":[],"x":%b%b}' % (b"[" * 200_000, b"]" * 200_000),
    "no choices": b'{"choices":[]}',
    "usage beyond numbers": b'{"choices":[%b],"usage":{"prompt_tokens":%b,"completion_tokens":1e999}}'
    % ((CHOICE % (0, "null")).encode(), b"9" * 50),
    "an id of a megabyte": b'{"id":"%b","choices":[%b]}' % (b"x" * 1_000_000, (CHOICE % (0, "null")).encode()),
    "a zero in the answer": b'{"choices":[%b]}' % (CHOICE % (0, "null")).replace("Lyon", "Ly\\u0000on").encode(),
    "half a pair in the answer": b'{"choices":[%b]}' % (CHOICE % (0, "null")).replace("Lyon", "Ly\\ud800on").encode(),
    "no UTF-8": b'{"choices":[%b]}' % (CHOICE % (0, "null")).encode().replace(b"Lyon", b"Ly\xffon"),
}  # fmt: skip


@SURFACE
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", ANSWERS)
def test_what_an_upstream_may_send(target: Proxy, upstream: FakeUpstream, surface, case, streamed):
    """Without evidence nothing of it is an answer; a broken one is the upstream's failure."""
    event = ANSWERS[case].replace(b'"message"', b'"delta"')
    reply = stream(b"data: " + event + b"\n\n", b"data: [DONE]\n\n") if streamed else raw(ANSWERS[case])
    prompt = upstream.script(reply)
    model = "enforce" if surface == "completions" else "chats"  # that route does not translate
    got = sent(target, surface, {**base(surface, model, prompt), "stream": streamed})
    ours(got, 200, 502)
    assert "Ly" not in got.text
