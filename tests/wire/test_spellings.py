"""Every spelling of an answer seen on a real server, on all surfaces and in all modes; see ``spellings``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes import raw, stream
from tests.wire.spellings import FILES, PATHS, ROUTES, asked

WORD = b"Zanzibar"


def cases() -> list[Any]:
    """Return every file with each surface that can serve it."""
    found = []
    for path in FILES:
        case = json.loads(path.read_text(encoding="utf-8"))
        surfaces = ["chat", "responses", "messages"] if case["format"] == "chat" else [case["format"]]
        found += [pytest.param(case, surface, id=f"{path.stem}-{surface}") for surface in surfaces]
    return found


async def reply_of(serving: Any, upstream: Any, case: dict[str, Any], surface: str, route: str) -> Any:
    """Return what the client gets of this answer on a route."""
    sent = stream(case["stream"].encode()) if "stream" in case else raw(case["body"].encode())
    async with serving(ROUTES[route], upstream={"formats": [case["format"]]}) as proxy:
        return await proxy.ask(PATHS[surface], asked(case, surface, upstream.script(sent)))


@pytest.mark.parametrize(("case", "surface"), cases())
async def test_a_sure_answer_is_served_if_it_can_be_measured(serving, upstream, case, surface):
    reply = await reply_of(serving, upstream, case, surface, "sure")
    assert case.get("hidden", "NEVER SENT").encode() not in reply.body
    if case.get("error"):
        assert reply.status == 502
    else:
        assert reply.status == 200, reply.body
        assert said(reply.body) is case["measured"], reply.body
        assert case.get("reason", "").encode() in reply.body
    if not case["measured"]:
        assert WORD not in reply.body


def said(body: bytes) -> bool:
    """Return whether a body says the word, which a stream may cut in two, and no abstention."""
    return b"bar" in body and b"I don't know." not in body


@pytest.mark.parametrize(("case", "surface"), cases())
async def test_an_unsure_answer_is_never_sent(serving, upstream, case, surface):
    reply = await reply_of(serving, upstream, case, surface, "unsure")
    # A stream that is cut may be withheld before its end is missed.
    assert reply.status == 200 or case.get("error"), reply.body
    assert b"bar" not in reply.body
    if reply.status == 200:
        assert b"I don't know." in reply.body
    if "id" in case and surface == "chat":
        assert case["id"].encode() in reply.body


@pytest.mark.parametrize(("case", "surface"), cases())
async def test_an_observed_answer_is_passed_on_as_it_came(serving, upstream, case, surface):
    reply = await reply_of(serving, upstream, case, surface, "observe")
    assert reply.status == 200, reply.body
    if surface != case["format"]:
        return  # a translation leaves out what its format cannot hold
    assert b"bar" in reply.body
    if "body" in case:
        assert plain(reply.json) == plain(json.loads(case["body"]))


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without ``idk`` and without the logprobs, which the client did not ask for."""
    kept = json.loads(json.dumps(answer))
    kept.pop("idk", None)
    for choice in kept.get("choices") or ():
        choice.pop("logprobs", None)
    for item in kept.get("output") or ():
        for part in item.get("content") or ():
            part.pop("logprobs", None)
    return kept


@pytest.mark.parametrize(("case", "surface"), cases())
async def test_an_answer_without_a_gate_keeps_its_bytes(serving, upstream, case, surface):
    reply = await reply_of(serving, upstream, case, surface, "off")
    assert reply.status == 200, reply.body
    if surface == case["format"]:
        assert reply.body == (case.get("stream") or case.get("body")).encode()


def test_the_files_say_what_they_hold():
    assert len(FILES) > 40
    for path in FILES:
        case = json.loads(path.read_text(encoding="utf-8"))
        assert {"about", "source", "format", "measured"} <= case.keys(), path
        assert ("body" in case) != ("stream" in case), path
