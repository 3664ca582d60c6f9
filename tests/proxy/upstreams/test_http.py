"""An upstream over HTTP: asked again where that may help, its errors in one shape, no secret in them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from random import Random

import pytest

from proxy.exceptions import UpstreamCut, UpstreamGarbage, UpstreamStatus, UpstreamUnreachable
from proxy.metrics import Metrics
from proxy.upstreams.attempts import Attempts
from proxy.upstreams.breaker import Breaker
from proxy.upstreams.http import HTTP_FORMATS, HttpUpstream
from proxy.upstreams.http1 import make_transport
from proxy.upstreams.retry import Backoff
from proxy.upstreams.secrets import Secrets
from proxy.upstreams.transport import Timeouts
from tests.proxy.upstreams.peer import serving

KEY = "the-upstreams-key"


class Quick(Random):
    """Every wait is as short as it may be."""

    def uniform(self, a, b):
        return a


def reply(body=b"{}", status=200, *headers):
    lines = b"".join(b"%b\r\n" % header for header in headers)
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), lines, body)


def failing(status, *headers, **error):
    return reply(json.dumps({"error": {"message": "no", **error}}).encode(), status, *headers)


class Asked:
    """One upstream with a client before it; ``errors`` are the failures that were counted."""

    def __init__(self, port, retries, key, forwards, formats):
        self.metrics = Metrics()
        authority = f"127.0.0.1:{port}"
        self.client = HttpUpstream(
            "u",
            make_transport(f"http://{authority}/v1", Timeouts(5.0, 5.0, 5.0)),
            secrets=Secrets(key, authority),
            forwards_credentials=forwards,
            gives_logprobs=True,
            formats=formats,
            attempts=Attempts(Backoff(retries, 5.0, Quick()), Breaker(0, 1.0), self.metrics.upstream("u")),
        )
        self.requests = []

    async def post(self, credentials=None):
        response = await self.client.post("/chat/completions", b"{}", credentials)
        try:
            return await response.read(1_000)
        finally:
            response.close()

    def failed(self, kind):
        labels = {"upstream": "u", "kind": kind}
        return self.metrics.registry.get_sample_value("idk_upstream_errors_total", labels) or 0


@asynccontextmanager
async def upstream(*answers, retries=2, key=KEY, forwards=False, formats=HTTP_FORMATS):
    asked = None
    left = list(answers)

    async def script(peer):
        while left:
            asked.requests.append(await peer.request())
            answer = left.pop(0)
            await peer.send(answer)
            if b"content-length: 999" in answer:
                return

    async with serving(script) as server:
        asked = Asked(server.port, retries, key, forwards, formats)
        try:
            yield asked
        finally:
            await asked.client.aclose()


async def test_a_good_answer_is_given_at_once():
    async with upstream(reply(b"yes"), reply(b"never")) as asked:
        assert await asked.post() == b"yes"
        assert len(asked.requests) == 1


async def test_the_key_is_sent_and_the_answer_wanted_unpacked():
    async with upstream(reply()) as asked:
        await asked.post(credentials=b"Bearer clients")
        head = asked.requests[0][0].lower()
    assert b"authorization: bearer the-upstreams-key\r\n" in head
    assert b"clients" not in head
    assert b"accept-encoding: identity\r\n" in head
    assert b"post /v1/chat/completions http/1.1" in head


async def test_the_clients_own_credentials_are_forwarded_where_they_should_be():
    async with upstream(reply(), reply(), key=None, forwards=True) as asked:
        await asked.post(credentials=b"Bearer clients")
        await asked.post()
    assert b"authorization: Bearer clients\r\n" in asked.requests[0][0]
    assert b"authorization" not in asked.requests[1][0].lower()


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_a_passing_failure_is_asked_again(status):
    async with upstream(failing(status), failing(status), reply(b"yes")) as asked:
        assert await asked.post() == b"yes"
        assert asked.failed("status") == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
async def test_a_lasting_one_is_not(status):
    async with upstream(failing(status), reply(b"never")) as asked:
        with pytest.raises(UpstreamStatus) as raised:
            await asked.post()
        assert raised.value.http_status == status
        assert len(asked.requests) == 1


@pytest.mark.parametrize("header", [b"retry-after: 0", b"retry-after-ms: 1"])
@pytest.mark.parametrize("retries", [0, 1])
async def test_after_the_last_attempt_the_failure_is_the_answer(header, retries):
    async with upstream(*[failing(429, header)] * 3, retries=retries) as asked:
        with pytest.raises(UpstreamStatus) as raised:
            await asked.post()
        assert len(asked.requests) == retries + 1
        assert raised.value.retry_after_s in (0.0, 0.001)


async def test_a_wait_that_nobody_would_wait_is_the_clients():
    async with upstream(failing(429, b"retry-after: 600"), reply(b"never")) as asked:
        with pytest.raises(UpstreamStatus) as raised:
            await asked.post()
        assert (raised.value.retry_after_s, len(asked.requests)) == (600.0, 1)


async def test_a_connection_that_cannot_be_made_is_tried_again():
    async with upstream() as asked:
        pass
    with pytest.raises(UpstreamUnreachable):
        await asked.post()
    assert asked.failed("connect") == 2  # the last failure is counted where the client's response is made


async def test_an_answer_that_has_begun_is_never_asked_for_again():
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\nhalf"
    async with upstream(cut, reply(b"never")) as asked:
        with pytest.raises(UpstreamCut):
            await asked.post()
        assert len(asked.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 304])
async def test_redirects_are_not_followed(status):
    async with upstream(reply(b"", status, b"location: http://elsewhere.example/")) as asked:
        with pytest.raises(UpstreamGarbage, match=f"answered {status}; redirects are not followed") as raised:
            await asked.post()
    assert "elsewhere" not in raised.value.message


@pytest.mark.parametrize(("body", "message"), [
    ({"error": {"message": "too long"}}, "too long"), ({"error": "too long"}, "too long"),
    ({"message": "too long"}, "too long"), ({"detail": "too long"}, "too long"),
    ({"error": None, "message": "too long"}, "too long"), ({"error": {"text": 1}, "detail": "too long"}, "too long"),
    ({"error": 3, "message": "too long"}, "too long"), ({"error": {"message": 3}}, "3"),
    ({"detail": [{"msg": "too long"}]}, "too long"), ({}, "the upstream answered 400"),
    ([], "the upstream answered 400"), ([{"error": {"message": "too long"}}], "too long"), ("too long", "too long"),
])  # fmt: skip
async def test_every_shape_of_an_error_is_read(body, message):
    async with upstream(reply(json.dumps(body).encode(), 400)) as asked:
        with pytest.raises(UpstreamStatus) as raised:
            await asked.post()
    assert raised.value.message == message


@pytest.mark.parametrize("body", [
    b"", b"<html>Bad Gateway</html>", b"\xff", b'{"error": {"message": "\xff"}}', b"[" * 60_000, b"x" * 200_000,
])  # fmt: skip
async def test_an_error_that_is_no_json_has_its_status_alone(body):
    async with upstream(reply(body, 418)) as asked:
        with pytest.raises(UpstreamStatus, match="the upstream answered 418"):
            await asked.post()


@pytest.mark.parametrize("code", ["context_length_exceeded", 1210, None])
async def test_the_vendors_fields_are_kept(code):
    async with upstream(failing(400, type="invalid_request_error", param="messages", code=code)) as asked:
        with pytest.raises(UpstreamStatus) as raised:
            await asked.post()
    found = raised.value
    assert (found.error_type, found.param) == ("invalid_request_error", "messages")
    assert found.code == (None if code is None else str(code))


# Secrets


@pytest.mark.parametrize(("text", "clean"), [
    (f"bad key {KEY}!", "bad key [redacted]!"), ("at api.example.com:8443/v1", "at [redacted]/v1"),
    ("host api.example.com is down", "host [redacted] is down"), ("Bearer abc.def-123 is wrong", "[redacted] is wrong"),
    ("Incorrect API key provided: sk-abc***def.", "Incorrect API key provided: [redacted]"),
    ("key-1234567890 and api_abcdefgh", "[redacted] and [redacted]"), ("skip the task", "skip the task"),
])  # fmt: skip
def test_keys_and_addresses_are_taken_out(text, clean):
    assert Secrets(KEY, "api.example.com:8443").redact(text) == clean


def test_a_host_that_is_a_plain_word_stays_one():
    assert Secrets(None, "localhost:80").redact("localhost:80 says localhost") == "[redacted] says localhost"


async def test_no_secret_stands_in_an_error():
    text = f"the key {KEY} is wrong for http://127.0.0.1/v1, Bearer xyz"
    async with upstream(failing(401, message=text)) as asked:
        with pytest.raises(UpstreamStatus) as raised:
            await asked.post()
        assert asked.client.redact(KEY) == "[redacted]"
    assert raised.value.message == "the key [redacted] is wrong for http://[redacted]/v1, [redacted]"


# Passing on


async def test_a_relayed_request_is_sent_once_and_its_answer_given_whatever_it_is():
    async with upstream(reply(b"busy", 503, b"x-more: 1"), reply(b"never")) as asked:
        response = await asked.client.relay(
            "PUT", "/files?a=%20", [(b"x-mine", b"1")], b"body", b"Bearer clients"
        )
        assert (response.status, await response.read(10)) == (503, b"busy")
        assert (b"x-more", b"1") in response.headers
        response.close()
    head, body = asked.requests[0]
    assert head.startswith(b"PUT /v1/files?a=%20 HTTP/1.1\r\n")
    assert b"x-mine: 1\r\n" in head
    assert b"authorization: Bearer the-upstreams-key\r\n" in head
    assert (body, len(asked.requests)) == (b"body", 1)


@pytest.mark.parametrize(("credentials", "sent"), [(b"Bearer clients", True), (None, False)])
async def test_a_relayed_request_brings_the_clients_credentials_where_they_are_forwarded(credentials, sent):
    async with upstream(reply(), key=None, forwards=True) as asked:
        (await asked.client.relay("GET", "/files", [], b"", credentials)).close()
    assert (b"authorization: Bearer clients" in asked.requests[0][0]) is sent


async def test_credentials_that_are_not_to_be_forwarded_stay_here():
    async with upstream(reply(), key=None) as asked:
        (await asked.client.relay("GET", "/files", [], b"", b"Bearer clients")).close()
    assert b"clients" not in asked.requests[0][0]


@pytest.mark.parametrize(("headers", "version"), [
    ([], b"2023-06-01"), ([(b"anthropic-version", b"2024-01-01")], b"2024-01-01"),
])  # fmt: skip
async def test_a_request_relayed_to_anthropic_has_its_key_header_and_one_version(headers, version):
    async with upstream(reply(), formats=("messages",)) as asked:
        (await asked.client.relay("GET", "/models", headers, b"", None)).close()
    head = asked.requests[0][0]
    assert b"x-api-key: the-upstreams-key\r\n" in head
    assert head.count(b"anthropic-version") == 1
    assert b"anthropic-version: " + version in head
