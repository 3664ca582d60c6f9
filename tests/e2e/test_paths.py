"""Every path: gated however it is written, closed where it would go around the gate, else passed through."""

from __future__ import annotations

import io
import os
import socket

import httpx
import openai
import pytest

from tests.e2e.proxies import Proxy, asking
from tests.fakes import DEADLINE_S, FakeUpstream, answer, error, held, raw, says

UNSURE = answer(says("Ly", "on", logprob=-3.0))
GATED = [
    "/v1/chat/completions",
    "/chat/completions",
    "/v1/chat/completions/",
    "/v1//chat///completions",
    "//v1/chat/completions//",
    "/v1/chat%2Fcompletions",
    "/v1/%63hat/completions",
    "/v1/chat/completions?api-version=1",
]
#: They give a model's words, and this version has no gate for them.
AROUND = [
    "/v1/engines/x/completions",
    "/v1/Chat/Completions",
    "/v1/v1/chat/completions",
    "/v1/threads/t/runs",
    "/v1/responses/resp_1",
    "/v1/responses/resp_1/cancel",
    "/v1/chat/completions/chatcmpl-1",
]


@pytest.mark.parametrize("path", GATED)
def test_the_gate_is_on_the_path_however_written(proxy: Proxy, upstream: FakeUpstream, path):
    got = proxy.post(asking("enforce", upstream.script(UNSURE)), path)
    assert got.json()["choices"][0]["message"]["content"] == "I don't know."


@pytest.mark.parametrize("path", AROUND)
def test_a_way_around_the_gate_is_closed(proxy: Proxy, upstream: FakeUpstream, path):
    got = proxy.post({"model": "enforce", "prompt": "?"}, path)
    assert got.status_code == 403
    assert "gate" in got.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/../chat/completions", "/v1/%2e%2e/secrets", "/v1/./x"])
def test_no_path_leaves_the_base_url(proxy: Proxy, upstream: FakeUpstream, path):
    """Paths are sent unchanged by a raw socket, since clients normalise them."""
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        status = b"".join(iter(lambda: connection.recv(65_536), b"")).split(b" ")[1]
    assert status in (b"400", b"404", b"405")


class TestPassThrough:
    """Bytes are bytes."""

    @pytest.mark.parametrize("prefix", ["/v1", ""])
    @pytest.mark.parametrize("model", ["enforce", "observe", "off"])
    def test_json(self, proxy, upstream, prefix, model):
        body = b'{ "model" : "%b", "input": ["a"], "odd": 1.50 }' % model.encode()
        reply = b'{ "data" : [ 1.0, 2.50 ] }'
        upstream.serve("/v1/embeddings", raw(reply, headers={"openai-version": "kept", "set-cookie": "a=b"}))
        got = proxy.post(body, f"{prefix}/embeddings?x=1&y=%20")
        assert got.content == reply
        assert got.headers["openai-version"] == "kept"
        assert got.headers["x-idk-route"] == model
        assert "set-cookie" not in got.headers
        call = upstream.calls("/v1/embeddings")[-1]
        assert call.body == body
        assert call.path == "/v1/embeddings?x=1&y=%20"

    def test_the_official_client(self, proxy, upstream):
        upstream.serve(
            "/v1/embeddings",
            raw(b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}'),
        )  # fmt: skip
        with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client:
            got = client.embeddings.create(model="enforce", input="a", encoding_format="float")
        assert got.data[0].embedding == [0.5]

    def test_an_upload_finds_its_route_by_the_forms_model(self, proxy, upstream):
        content = os.urandom(300_000)
        upstream.serve("/v1/audio/transcriptions", raw(b'{"text":"hello"}'))
        with openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client:
            got = client.audio.transcriptions.with_raw_response.create(
                model="renamed", file=("a.wav", io.BytesIO(content), "audio/wav")
            )
        assert got.parse().text == "hello"
        assert got.headers["x-idk-route"] == "renamed"
        call = upstream.calls("/v1/audio/transcriptions")[-1]
        assert content in call.body
        assert call.headers["content-type"].startswith("multipart/form-data; boundary=")

    def test_an_upload_streams(self, proxy, upstream):
        """The body is over the limit for bodies that are read, and its length is not announced."""
        piece = os.urandom(50_000)
        upstream.serve("/v1/uploads", raw(b"{}"))
        got = httpx.post(f"{proxy.url}/v1/uploads", content=(piece for _ in range(20)))
        assert got.status_code == 200
        assert upstream.calls("/v1/uploads")[-1].body == piece * 20

    def test_a_download_is_its_bytes(self, proxy, upstream):
        content = os.urandom(500_000)
        upstream.serve(
            "/v1/files/x/content", raw(content, headers={"content-type": "application/octet-stream"})
        )
        got = httpx.get(f"{proxy.url}/v1/files/x/content")
        assert got.content == content
        assert got.headers["content-type"] == "application/octet-stream"

    def test_a_download_that_is_cut_is_seen_to_be(self, proxy, upstream):
        upstream.serve("/v1/files/y/content", raw(b"half", missing=4))
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{proxy.url}/v1/files/y/content")

    def test_errors_are_the_upstreams_own(self, proxy, upstream):
        upstream.serve("/v1/moderations", error(418, "a teapot"))
        got = proxy.post({"model": "observe"}, "/v1/moderations")
        assert (got.status_code, got.json()["error"]["message"]) == (418, "a teapot")

    @pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT", "PATCH"])
    def test_every_method(self, proxy, upstream, method):
        upstream.serve(f"/v1/things/{method}", raw(b"{}"))
        got = httpx.request(method, f"{proxy.url}/v1/things/{method}")
        assert got.content == b"{}"

    def test_head(self, proxy, upstream):
        upstream.serve("/v1/things/HEAD", raw(b""))
        got = httpx.head(f"{proxy.url}/v1/things/HEAD")
        assert (got.status_code, got.content) == (200, b"")

    def test_an_unknown_model_is_refused(self, proxy):
        got = proxy.post({"model": "nothing"}, "/v1/embeddings")
        assert (got.status_code, got.json()["error"]["code"]) == (404, "model_not_found")

    def test_json_that_is_none_is_refused(self, proxy):
        assert proxy.post(b"{", "/v1/embeddings").status_code == 400
        assert proxy.post({"model": 3}, "/v1/embeddings").status_code == 400

    def test_an_upstream_that_is_down(self, proxy):
        got = proxy.post({"model": "nobody"}, "/v1/embeddings")
        assert got.status_code == 502
        assert "127.0.0.1" not in got.text

    def test_an_upstream_that_is_slow(self, proxy, upstream):
        upstream.serve("/v1/slow", held())
        assert proxy.post({"model": "hasty"}, "/v1/slow").status_code == 504
        assert upstream.call("/v1/slow").was_left()


class TestColdPaths:
    """Probes and metrics."""

    @pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
    def test_probes(self, proxy, path):
        got = httpx.get(f"{proxy.url}{path}")
        assert got.status_code == 200
        assert got.headers["x-request-id"].startswith("idk-")
        assert httpx.head(f"{proxy.url}{path}").status_code == 200

    def test_metrics_count_a_request(self, proxy, upstream):
        labels = {"route": "policy", "decision": "abstain", "reason": "below_threshold"}
        names = {
            "idk_requests_total": labels,
            "idk_confidence_count": {"route": "policy"},
            "idk_request_duration_seconds_count": {"route": "policy"},
            "idk_overhead_seconds_count": {"route": "policy"},
            "idk_upstream_duration_seconds_count": {"upstream": "fake"},
        }
        before = {name: proxy.metric(name, **found) for name, found in names.items()}
        proxy.post(asking("policy", upstream.script(UNSURE)))
        assert {name: proxy.metric(name, **found) for name, found in names.items()} == {
            name: value + 1 for name, value in before.items()
        }
        assert proxy.metric("idk_threshold", route="policy") == 0.8
        assert proxy.metric("idk_policy_info", route="policy", policy="support", certified="false") == 1

    def test_labels_are_the_configurations_alone(self, proxy, upstream):
        proxy.post(asking("alias-of-a-client", upstream.script(UNSURE)))
        proxy.post(asking("unheard-of", "?"))
        text = httpx.get(f"{proxy.url}/metrics").text
        assert "alias-of-a-client" not in text
        assert "unheard-of" not in text
