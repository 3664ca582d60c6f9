"""Whose label is taken, and what is said where none is."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from random import Random

import pytest

from proxy.app import App, Services
from proxy.clients.last_used import Uses
from proxy.control.recording import Recorder
from proxy.gateway.feedback import LABELS_PER_MINUTE
from proxy.metrics import Metrics
from proxy.storage import Sealer, make_store
from proxy.storage.link import StoreLink
from tests.fakes import answer, says

ROUTES = [
    {"name": name, "models": [name], "scorers": ["mean_logprob"]} for name in ("one", "two")
]  # fmt: skip
KEYS = [
    {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "routes": routes}
    for name, routes in (("ada", ["one"]), ("bob", ["two"]), ("all", None))
]  # fmt: skip


@pytest.fixture
def proxy(serving, tmp_path):
    """A proxy with keys and a store."""

    @asynccontextmanager
    async def serve():
        store = make_store("sqlite:///idk.db", tmp_path, Sealer())
        link = StoreLink(store, Metrics())
        recorder = Recorder(link, Random(0))
        async with serving(*ROUTES, keys=KEYS, recorder=recorder) as running:
            running.app = App(running.parts, Services(link, recorder, Uses(link)))
            running.store = store
            yield running
            await link.aclose()

    return serve


def key(name):
    return {"authorization": f"Bearer {name}"}


async def test_a_key_labels_its_own_routes_alone(proxy, upstream):
    async with proxy() as running:
        prompt = upstream.script(answer(says("Paris"), id="c-1"))
        asked = await running.ask(
            "/v1/chat/completions",
            {"model": "one", "messages": [{"role": "user", "content": prompt}]}, headers=key("ada"),
        )  # fmt: skip
        body = {"id": asked.headers["x-request-id"], "label": "incorrect"}
        none = await running.ask("/v1/feedback", body)
        assert none.status == 401
        other = await running.ask("/v1/feedback", body, headers=key("bob"))
        unknown = await running.ask("/v1/feedback", {**body, "id": "idk-none"}, headers=key("bob"))
        # Not even that the id is known is told.
        assert (other.status, other.body) == (unknown.status, unknown.body) == (404, other.body)
        own = await running.ask("/v1/feedback", body, headers=key("ada"))
        assert (own.status, own.json["recorded"]) == (200, True)
        (label,) = await running.store.labels(body["id"])
        assert (label.who, label.source, label.label) == ("ada", "feedback", "incorrect")
        another = await running.ask("/v1/feedback", {**body, "label": "correct"}, headers=key("all"))
        assert another.status == 404  # a key that may use the route, but did not make the request
        again = await running.ask("/v1/feedback", {**body, "label": "correct"}, headers=key("ada"))
        assert again.status == 200
        (label,) = await running.store.labels(body["id"])
        assert (label.who, label.label) == ("ada", "correct")
        assert running.count("idk_feedback_total", route="one", label="incorrect") == 1
        assert running.count("idk_feedback_total", route="one", label="correct") == 1


async def test_a_key_sends_labels_within_a_limit(proxy):
    async with proxy() as running:
        body = {"id": "x", "label": "correct"}
        for _ in range(LABELS_PER_MINUTE):
            assert (await running.ask("/v1/feedback", b"{", headers=key("ada"))).status == 400
        refused = await running.ask("/v1/feedback", body, headers=key("ada"))
        assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert (await running.ask("/v1/feedback", b"{", headers=key("bob"))).status == 400


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"{", 400), (b"\xff", 400), (b"[" * 5000, 400), (b"[]", 400), ({"id": "x"}, 400),
    ({"id": "", "label": "correct"}, 400), ({"id": "x", "label": "abstained"}, 400),
    ({"id": "x", "label": "correct", "choice": -1}, 400), ({"id": "x", "label": "correct", "more": 1}, 400),
    ({"id": 3, "label": "correct"}, 400), (b"x" * 20_000, 413), ({"id": "x", "label": "correct"}, 404),
])  # fmt: skip
async def test_what_is_no_feedback_gets_an_error_in_the_vendors_shape(proxy, body, status):
    async with proxy() as running:
        reply = await running.ask("/v1/feedback", body, headers=key("ada"))
    assert reply.status == status
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert "x-request-id" in reply.headers


async def test_without_a_store_there_is_nothing_to_label(serving):
    async with serving(ROUTES[0]) as running:
        reply = await running.ask("/v1/feedback", {"id": "x", "label": "correct"})
    assert (reply.status, reply.json["error"]["code"]) == (404, "no_store")
    async with serving(ROUTES[0]) as running:
        refused = await running.ask("/v1/feedback", method="GET")
        assert (refused.status, refused.headers["allow"]) == (405, "POST")
