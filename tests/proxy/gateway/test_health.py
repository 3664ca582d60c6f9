"""Probes, the scrape and the list of models."""

from __future__ import annotations

import hashlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROUTES = [
    {"name": "a", "models": ["gpt-4o", "gpt-4o-*", "x?", "[ab]"]},
    {"name": "b", "models": ["org/model", "a"]},
]


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


async def test_alive_is_not_ready(serving):
    async with serving(*ROUTES) as proxy:
        assert (await proxy.ask("/health/live", method="GET")).status == 200
        for path in ("/health", "/health/ready"):
            reply = await proxy.ask(path, method="GET")
            assert (reply.status, reply.json) == (503, {"status": "not ready"})
        proxy.app.health.ready = True
        reply = await proxy.ask("/health/ready", method="GET")
        assert (reply.status, reply.json) == (200, {"status": "ready"})
        assert reply.headers["x-request-id"].startswith("idk-")


async def test_the_scrape_is_prometheuss_text(serving):
    async with serving(*ROUTES) as proxy:
        reply = await proxy.ask("/metrics", method="GET")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(reply.body.decode())}
    assert {"idk_requests", "idk_overhead_seconds", "idk_upstream_duration_seconds"} <= names


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
async def test_the_models_are_the_routes_and_the_names_that_they_take(serving, path):
    async with serving(*ROUTES) as proxy:
        reply = await proxy.ask(path, method="GET")
    assert reply.json["object"] == "list"
    assert [model["id"] for model in reply.json["data"]] == ["a", "gpt-4o", "b", "org/model"]
    assert {model["object"] for model in reply.json["data"]} == {"model"}


async def test_one_model(serving):
    async with serving(*ROUTES) as proxy:
        found = await proxy.ask("/v1/models/org/model", method="GET")
        none = await proxy.ask("/v1/models/gpt-4o-mini", method="GET")
    assert found.json == {"id": "org/model", "object": "model", "created": 0, "owned_by": "idk"}
    assert (none.status, none.json["error"]["code"]) == (404, "model_not_found")
    assert none.headers["x-request-id"].startswith("idk-")


async def test_a_key_sees_its_own_models(serving):
    keys = [{"name": "k", "sha256": sha256("s"), "routes": ["b"]}]
    async with serving(*ROUTES, keys=keys) as proxy:
        reply = await proxy.ask("/v1/models", method="GET", headers={"authorization": "Bearer s"})
        assert [model["id"] for model in reply.json["data"]] == ["b", "org/model", "a"]
        assert (await proxy.ask("/v1/models", method="GET")).status == 401
        assert (await proxy.ask("/metrics", method="GET")).status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m:generateContent", "/metrics", "/health"])
async def test_another_method_is_refused_in_the_vendors_shape(serving, path):
    async with serving(*ROUTES) as proxy:
        reply = await proxy.ask(path, {"model": "a"})
    assert (reply.status, reply.json["error"]["type"]) == (405, "invalid_request_error")
    assert reply.headers["allow"] == "GET, HEAD"
    assert reply.headers["x-request-id"].startswith("idk-")
