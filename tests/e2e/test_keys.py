"""Client keys: the routes that a key may use, and the credentials that reach an upstream."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from tests.e2e.proxies import Proxy, asking, enforced, route, write_config
from tests.fakes import answer, raw, says

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes import FakeUpstream

SAID = answer(says("Par", "is"))
NEEDS_A_KEY = [
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/a",
    "/v1/embeddings",
    "/v1/anything",
    "/chat//completions",
]
NEEDS_NONE = ["/metrics", "/health", "/health/live", "/health/ready"]


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def proxy(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Two routes, a key for the first alone, and one for both."""
    folder: Path = tmp_path_factory.mktemp("keys")
    config = {
        "keys": [
            {"name": "one", "sha256": sha256("key-of-one"), "routes": ["a"]},
            {"name": "all", "sha256": sha256("key-of-all")},
        ],
        "upstreams": {
            "fake": {"base_url": upstream.base_url},
            "forwarding": {"base_url": upstream.base_url, "auth": "forward"},
        },
        "routes": [
            enforced("a"),
            enforced("b"),
            route("forwarding", "forwarding"),
            route("off", "forwarding", mode="off"),
        ],
    }
    with Proxy("--config", write_config(folder, config), cwd=folder) as process:
        yield process


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", NEEDS_A_KEY)
@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong"), {"authorization": "Basic a2V5"}, {"x-idk-key": "é"}]
)
def test_without_a_known_key_nothing_is_open(proxy: Proxy, path, headers):
    method = "GET" if "models" in path else "POST"
    sent = {name: value.encode() for name, value in headers.items()}
    got = httpx.request(method, f"{proxy.url}{path}", headers=sent, content=b"" if method == "GET" else b"{}")
    assert got.status_code == 401
    assert got.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", NEEDS_NONE)
def test_probes_and_metrics_need_none(proxy: Proxy, path):
    assert httpx.get(f"{proxy.url}{path}").status_code == 200


def test_the_official_client_is_told(proxy: Proxy):
    with (
        openai.OpenAI(base_url=proxy.base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


@pytest.mark.parametrize(
    "headers",
    [
        bearer("key-of-one"),
        {"authorization": "bearer key-of-one"},
        {"x-api-key": "key-of-one"},
        {"x-idk-key": "key-of-one"},
    ],
)
def test_a_key_in_any_of_its_places(proxy: Proxy, upstream: FakeUpstream, headers):
    assert proxy.post(asking("a", upstream.script(SAID)), headers=headers).status_code == 200


class TestRoutes:
    """A key that is for some routes."""

    def test_another_route_is_closed(self, proxy, upstream):
        prompt = upstream.script(SAID)
        assert proxy.post(asking("b", prompt), headers=bearer("key-of-one")).status_code == 403
        named = {**bearer("key-of-one"), "x-idk-route": "b"}
        assert proxy.post(asking("a", prompt), headers=named).status_code == 404
        assert proxy.post({"model": "b"}, "/v1/embeddings", headers=bearer("key-of-one")).status_code == 403
        assert not upstream.calls(prompt)
        assert proxy.post(asking("b", prompt), headers=bearer("key-of-all")).status_code == 200

    @pytest.mark.parametrize(
        ("key", "names"), [("key-of-one", ["a"]), ("key-of-all", ["a", "b", "forwarding", "off"])]
    )
    def test_the_models_are_those_of_the_key(self, proxy, key, names):
        got = httpx.get(f"{proxy.url}/v1/models", headers=bearer(key)).json()
        assert [model["id"] for model in got["data"]] == names
        status = httpx.get(f"{proxy.url}/v1/models/b", headers=bearer(key)).status_code
        assert status == (200 if "b" in names else 404)


BOTH = {"x-idk-key": "key-of-all", "authorization": "Bearer the-clients-own"}


class TestForwarding:
    """The client's own Authorization, where the upstream is to have it."""

    @pytest.mark.parametrize("model", ["forwarding", "off"])
    def test_it_goes_through_beside_x_idk_key(self, proxy, upstream, model):
        prompt = upstream.script(SAID)
        assert proxy.post(asking(model, prompt), headers=BOTH).status_code == 200
        sent = upstream.call(prompt).headers
        assert sent["authorization"] == "Bearer the-clients-own"
        assert "x-idk-key" not in sent

    def test_on_other_paths_too(self, proxy, upstream):
        upstream.serve("/v1/rerank", raw(b"{}"))
        proxy.post({"model": "forwarding"}, "/v1/rerank", headers=BOTH)
        assert upstream.call("/v1/rerank").headers["authorization"] == "Bearer the-clients-own"

    def test_elsewhere_it_stays(self, proxy, upstream):
        prompt = upstream.script(SAID)
        assert proxy.post(asking("a", prompt), headers=BOTH).status_code == 200
        assert "authorization" not in upstream.call(prompt).headers

    @pytest.mark.parametrize("headers", [bearer("key-of-all"), {"x-api-key": "key-of-all"}])
    @pytest.mark.parametrize("model", ["forwarding", "off"])
    def test_the_proxys_own_key_is_nobody_elses(self, proxy, upstream, headers, model):
        """A key of ours in Authorization is for us: sent on, the upstream would learn it."""
        prompt = upstream.script(SAID)
        assert proxy.post(asking(model, prompt), headers=headers).status_code == 200
        assert "key-of-all" not in str(upstream.call(prompt).headers)
