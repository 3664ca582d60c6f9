"""Clients' keys by the page's JSON: made, in force, listed without what opens, revoked."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.proxies import Proxy, asking, route, wait_until, write_config
from tests.fakes import answer, says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import FakeUpstream

KEY = "the key of the admins"
AT = "/admin/api/keys"


@pytest.fixture
def proxy(upstream: FakeUpstream, tmp_path) -> Iterator[Proxy]:
    config = {
        "server": {"stored_keys": True},
        "keys": [
            {"name": "in-the-file", "sha256": hashlib.sha256(b"x").hexdigest(), "requests_per_minute": 7}
        ],
        "upstreams": {"fake": {"base_url": upstream.base_url}},
        "routes": [route("a"), route("b")],
    }
    write_config(tmp_path, config)
    with Proxy(cwd=tmp_path, env=os.environ | {"IDK_ADMIN_KEY": KEY}) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=20) as client:
        yield client


def test_a_key_is_made_used_listed_and_revoked(proxy, client, upstream, tmp_path):
    prompt = upstream.script(answer(says("x")))

    def status(secret: str, model: str) -> int:
        return proxy.post(asking(model, prompt), headers={"authorization": f"Bearer {secret}"}).status_code

    asked = {"name": "app", "who": "ada", "routes": ["a"], "tokens_per_minute": 1_000}
    response = client.post(AT, json=asked)
    assert response.headers["cache-control"] == "no-store"
    made = response.raise_for_status().json()
    secret = made["secret"]
    wait_until(lambda: status(secret, "a") == 200, "the key opens its route")
    assert status(secret, "b") == 403
    # Found again by its name, and never what opens: neither the key nor its hash.
    listed = client.get(AT)
    assert secret not in listed.text
    assert hashlib.sha256(secret.encode()).hexdigest() not in listed.text
    assert hashlib.sha256(b"x").hexdigest() not in listed.text
    of_file, of_store = listed.json()["keys"]
    assert listed.json()["required"] is True
    assert (of_file["name"], of_file["source"], of_file["requests_per_minute"]) == ("in-the-file", "file", 7)
    assert of_store | {"last_used_at": None} == made["key"]
    assert (of_file["last_used_at"], made["key"]["last_used_at"]) == (None, None)
    assert (of_store["who"], of_store["routes"], of_store["tokens_per_minute"]) == ("ada", ["a"], 1_000)
    assert client.delete(f"{AT}/app").json() == {"name": "app", "revoked": True}
    wait_until(lambda: status(secret, "a") == 401, "the key opens nothing")
    assert client.get(AT).json()["keys"][1]["revoked_at"] is not None
    assert secret not in "".join(proxy.log)
    assert secret.encode() not in (tmp_path / "idk.db").read_bytes()


def test_a_name_is_given_once_and_the_files_keys_stay(client):
    asked = {"name": "app", "who": "ada"}
    assert client.post(AT, json=asked).status_code == 200
    assert client.delete(f"{AT}/app").status_code == 200
    for name, words in (("app", "taken"), ("in-the-file", "is taken by a key of idk.yaml")):
        again = client.post(AT, json={**asked, "name": name})
        assert again.status_code == 409
        assert words in again.json()["error"]["message"]
    for name in ("app", "in-the-file", "nobody"):
        assert client.delete(f"{AT}/{name}").status_code == 409, name


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "x" * 65},
        {"who": ""},
        {"routes": ["nowhere"]},
        {"routes": []},
        {"requests_per_minute": 0},
        {"tokens_per_minute": 1.5},
        {"sha256": "0" * 64},
    ],
    ids=str,
)
def test_what_makes_no_sense_makes_no_key(client, change):
    response = client.post(AT, json={"name": "app", "who": "ada", **change})
    assert response.status_code == 400, response.text
    assert [key["name"] for key in client.get(AT).json()["keys"]] == ["in-the-file"]


@pytest.mark.parametrize(("method", "path"), [("GET", AT), ("POST", AT), ("DELETE", f"{AT}/in-the-file")])
def test_nobody_else_gets_in(proxy, method, path):
    asked = {"json": {"name": "app", "who": "eve"}} if method == "POST" else {}
    assert httpx.request(method, proxy.url + path, **asked).status_code == 401
    foreign = {"authorization": f"Bearer {KEY}", "origin": "https://evil.example"}
    assert httpx.request(method, proxy.url + path, headers=foreign, **asked).status_code == 403
