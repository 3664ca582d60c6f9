"""Abilities are learnt from probes, or for one credential alone; a client's refused request proves nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.exceptions import UpstreamStatus
from proxy.metrics import Metrics
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.contract import Ask
from proxy.surfaces.responses.surface import Responses
from proxy.upstreams.abilities import PAUSE_S, REMEMBER_S, Abilities, Kind, Suspicion, is_refusal, kind_of

CHAT = Chat()
PLAIN = Ask(model=None, params={}, logprobs=False, top_logprobs=0)
WITH_LOGPROBS = Ask(model=None, params={}, logprobs=True, top_logprobs=0)
KIND = Kind("chat", "/chat/completions")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Probes:
    """Answers probes with a fixed result, and counts them."""

    def __init__(self, has):
        self.has = has
        self.asked = []

    async def __call__(self, suspicion):
        self.asked.append(suspicion)
        await asyncio.sleep(0)
        return self.has


def learnt(has=False, probe=True):
    clock, metrics, probes = Clock(), Metrics(), Probes(has)
    abilities = Abilities("u", metrics.upstream("u"), probe=probes if probe else None, clock=clock)
    return abilities, probes, clock, metrics


def suspicion(model="m", kind=KIND, ability="logprobs"):
    return Suspicion(CHAT, model, kind, ability, WITH_LOGPROBS, PLAIN)


async def suspect(abilities, credentials=None, **which):
    probe = abilities.suspect(suspicion(**which), credentials)
    if probe is not None:
        await probe


def shown(metrics, ability="logprobs"):
    return metrics.registry.get_sample_value("idk_upstream_abilities", {"upstream": "u", "ability": ability})


def test_an_unknown_model_has_all_abilities():
    abilities, _, _, metrics = learnt()
    assert abilities.complete
    assert abilities.accepts("m", KIND, "logprobs", None)
    assert not abilities.lacks("m", KIND, "logprobs")
    assert (shown(metrics), shown(metrics, "n")) == (1, 1)


@pytest.mark.parametrize("has", [True, None])
async def test_a_suspicion_that_no_probe_confirms_changes_nothing(has):
    abilities, probes, _, metrics = learnt(has)
    await suspect(abilities, b"Bearer one")
    assert len(probes.asked) == 1
    assert abilities.accepts("m", KIND, "logprobs", b"Bearer one")
    assert shown(metrics) == 1


async def test_a_confirmed_suspicion_holds_for_its_model_and_kind_alone(caplog):
    abilities, _, _, metrics = learnt(has=False)
    await suspect(abilities)
    assert not abilities.accepts("m", KIND, "logprobs", None)
    assert not abilities.accepts("m", KIND, "logprobs", b"Bearer another client")
    assert abilities.lacks("m", KIND, "logprobs")
    assert abilities.accepts("other", KIND, "logprobs", None)
    assert abilities.accepts("m", KIND._replace(tools=True), "logprobs", None)
    assert abilities.accepts("m", KIND, "n", None)
    assert (shown(metrics), shown(metrics, "n")) == (0, 1)
    assert "upstream u: a probe confirmed that it does not accept logprobs" in caplog.text


async def test_many_suspicions_at_once_are_one_probe():
    abilities, probes, _, _ = learnt(has=False)
    first, second = (abilities.suspect(suspicion(), None) for _ in range(2))
    assert first is second
    await first
    assert len(probes.asked) == 1


async def test_an_unconfirmed_suspicion_is_not_probed_again_at_once():
    abilities, probes, clock, _ = learnt(has=True)
    await suspect(abilities)
    await suspect(abilities)
    assert len(probes.asked) == 1
    clock.now = PAUSE_S
    await suspect(abilities)
    assert len(probes.asked) == 2


async def test_a_single_probe_finds_an_ability_that_came_back(caplog):
    abilities, probes, clock, metrics = learnt(has=False)
    await suspect(abilities)
    clock.now, probes.has = REMEMBER_S, True
    assert not abilities.accepts("m", KIND, "logprobs", None)  # the client's request is not the probe
    assert not abilities.accepts("m", KIND, "logprobs", None)
    await asyncio.sleep(0.01)
    assert len(probes.asked) == 2
    assert abilities.accepts("m", KIND, "logprobs", None)
    assert shown(metrics) == 1
    assert "accepts again logprobs" in caplog.text


async def test_an_inconclusive_probe_leaves_a_missing_ability_missing():
    abilities, probes, clock, _ = learnt(has=False)
    await suspect(abilities)
    clock.now, probes.has = REMEMBER_S, None
    assert not abilities.accepts("m", KIND, "logprobs", None)
    await asyncio.sleep(0.01)
    assert abilities.lacks("m", KIND, "logprobs")


async def test_without_a_key_a_proof_holds_for_its_credential_and_expires():
    abilities, _, clock, metrics = learnt(probe=False)
    await suspect(abilities, b"Bearer one")
    assert not abilities.accepts("m", KIND, "logprobs", b"Bearer one")
    assert abilities.accepts("m", KIND, "logprobs", b"Bearer two")
    assert abilities.accepts("m", KIND, "logprobs", None)
    assert not abilities.lacks("m", KIND, "logprobs")  # no probe confirmed it
    assert shown(metrics) == 1
    clock.now = REMEMBER_S
    assert abilities.accepts("m", KIND, "logprobs", b"Bearer one")
    assert abilities.complete


async def test_no_credential_is_kept():
    abilities, _, _, _ = learnt(probe=False)
    await suspect(abilities, b"Bearer a very secret token")
    assert "very secret" not in repr(vars(abilities))


async def test_the_number_of_entries_is_limited():
    abilities, _, _, _ = learnt(probe=False)
    for number in range(1_100):
        await suspect(abilities, b"Bearer one", model=f"m{number}")
    assert abilities.accepts("m0", KIND, "logprobs", b"Bearer one")
    assert not abilities.accepts("m1099", KIND, "logprobs", b"Bearer one")


async def test_closing_cancels_the_probes():
    abilities, _, _, _ = learnt(has=False)
    probe = abilities.suspect(suspicion(), None)
    await abilities.aclose()
    assert probe.cancelled()
    assert abilities.complete


@pytest.mark.parametrize(("status", "refusal"), [
    (400, True), (403, True), (404, True), (405, True), (422, True), (501, True), (401, False), (429, False),
    (500, False),
])  # fmt: skip
def test_the_status_alone_says_whether_it_is_a_refusal(status, refusal):
    assert is_refusal(UpstreamStatus("logprobs", status=status)) is refusal


@pytest.mark.parametrize(("surface", "fields", "kind"), [
    (CHAT, {"messages": [1]}, KIND),
    (CHAT, {"messages": [1], "stream": True}, KIND._replace(stream=True)),
    (CHAT, {"messages": [1], "tools": [{"type": "function"}]}, KIND._replace(tools=True)),
    (CHAT, {"messages": [1], "response_format": {"type": "json_object"}}, KIND._replace(json_answer=True)),
    (CHAT, {"messages": [1], "reasoning_effort": "low"}, KIND._replace(reasoning=True)),
    (Responses(), {"input": "x"}, Kind("responses", "/responses")),
])  # fmt: skip
def test_the_kind_of_a_request(surface, fields, kind):
    request = surface.parse(msgspec.json.encode({"model": "m", **fields}))
    assert kind_of(surface, request) == kind
