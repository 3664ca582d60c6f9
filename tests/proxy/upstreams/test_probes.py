"""Probes: the upstream is asked with and without an ability, in the format and kind of the suspicion."""

from __future__ import annotations

import json
from itertools import product

import pytest

from proxy.exceptions import UpstreamStatus, UpstreamTimeout
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.completions.surface import Completions
from proxy.surfaces.contract import Ask
from proxy.surfaces.messages.surface import Messages
from proxy.surfaces.responses.over_chat import ResponsesOverChat
from proxy.surfaces.responses.surface import Responses
from proxy.surfaces.translation import TranslatedSurface
from proxy.upstreams.abilities import Kind, Suspicion
from proxy.upstreams.probes import Prober

PLAIN = Ask(model=None, params={}, logprobs=False, top_logprobs=0)
LOGPROBS = Ask(model="route's", params={"temperature": 2.0}, logprobs=True, top_logprobs=0, seed=None)
SAMPLES = Ask(model=None, params={}, logprobs=False, top_logprobs=0, samples=3)
SURFACES = (Chat(), Completions(), Responses(), Messages())
ONE_CHOICE = json.dumps({"choices": [{"index": 0, "message": {"content": "{}"}, "finish_reason": "stop"}]})


class Reply:
    status, headers = 200, ()

    def __init__(self, body):
        self.body = body
        self.closed = False

    async def read(self, limit):
        return self.body.encode()

    def close(self):
        self.closed = True


class Upstream:
    """Refuses what ``refuses`` finds in the path and the body, and keeps every request."""

    def __init__(self, refuses=lambda path, body: False, status=400, body=ONE_CHOICE):
        self.refuses = refuses
        self.status = status
        self.body = body
        self.asked = []
        self.replies = []

    async def post(self, path, body, credentials, *, fresh):
        assert credentials is None
        assert fresh
        self.asked.append((path, json.loads(body)))
        if self.refuses(path, self.asked[-1][1]):
            raise UpstreamStatus("no", status=self.status)
        self.replies.append(Reply(self.body))
        return self.replies[-1]


def suspicion(surface, ability="logprobs", refused=LOGPROBS, fallback=None, **kind):
    return Suspicion(
        surface, "m", Kind(surface.name, surface.path, **kind), ability, refused, PLAIN, fallback
    )


def with_logprobs(path, body):
    return "logprobs" in json.dumps(body)


@pytest.mark.parametrize(
    "surface", [each for each in SURFACES if each.name != "messages"], ids=lambda s: s.name
)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 422, 501])
async def test_a_refusal_with_the_ability_and_none_without_is_proof(surface, status):
    upstream = Upstream(with_logprobs, status)
    assert await Prober(upstream.post).probe(suspicion(surface)) is False
    assert [with_logprobs(*each) for each in upstream.asked] == [True, False]
    assert all(reply.closed for reply in upstream.replies)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
async def test_an_accepted_probe_clears_the_suspicion(surface):
    upstream = Upstream()
    assert await Prober(upstream.post).probe(suspicion(surface)) is True
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
async def test_an_upstream_that_refuses_both_proves_nothing(surface):
    assert await Prober(Upstream(lambda path, body: True).post).probe(suspicion(surface)) is None


@pytest.mark.parametrize("error", [UpstreamStatus("later", status=429), UpstreamTimeout("x")])
async def test_a_failure_proves_nothing(error):
    async def post(path, body, credentials, *, fresh):
        raise error

    assert await Prober(post).probe(suspicion(SURFACES[0])) is None


@pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
@pytest.mark.parametrize(
    "kind",
    [dict(zip(("stream", "tools", "json_answer", "reasoning"), each, strict=True)) for each in
     product((False, True), repeat=4)],
)  # fmt: skip
async def test_a_probe_is_of_the_suspected_kind(surface, kind):
    upstream = Upstream()
    await Prober(upstream.post).probe(suspicion(surface, **kind))
    path, body = upstream.asked[0]
    assert path == surface.path
    assert body["model"] == "m"
    assert "temperature" not in body
    assert body.get("stream", False) is kind["stream"]
    if surface.name != "completions":
        assert ("tools" in body) is kind["tools"]
        assert (
            any(each in body for each in ("reasoning_effort", "reasoning", "thinking")) is kind["reasoning"]
        )


async def test_a_server_that_knows_the_newer_token_limit_alone_is_probed_with_it():
    upstream = Upstream(lambda path, body: "max_tokens" in body or with_logprobs(path, body))
    assert await Prober(upstream.post).probe(suspicion(SURFACES[0])) is False
    assert "max_completion_tokens" in upstream.asked[-1][1]


async def test_a_server_that_ignores_n_lacks_it():
    assert await Prober(Upstream().post).probe(suspicion(SURFACES[0], "n", SAMPLES)) is False
    three = json.dumps({"choices": json.loads(ONE_CHOICE)["choices"] * 3})
    assert await Prober(Upstream(body=three).post).probe(suspicion(SURFACES[0], "n", SAMPLES)) is True


async def test_a_format_is_missing_where_its_path_is_refused_and_chat_is_not():
    over_chat = TranslatedSurface(ResponsesOverChat())
    found = suspicion(Responses(), "responses", PLAIN, over_chat)
    assert await Prober(Upstream(lambda path, _: path == "/responses", 404).post).probe(found) is False
    assert await Prober(Upstream().post).probe(found) is True
    assert await Prober(Upstream(lambda path, _: True, 404).post).probe(found) is None


async def test_values_that_a_client_chose_are_not_probed():
    theirs = Ask(model=None, params={}, logprobs=False, top_logprobs=0, samples=1, seed=2**70, max_tokens=1)
    upstream = Upstream()
    await Prober(upstream.post).probe(suspicion(SURFACES[0], "seed", theirs))
    assert upstream.asked[0][1]["seed"] == 1
    assert upstream.asked[0][1]["max_tokens"] == 16
