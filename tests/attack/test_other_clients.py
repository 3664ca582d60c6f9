"""No action of one client changes what another client gets: every action × its effect. Runs in about 15 seconds."""

from __future__ import annotations

import asyncio
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from proxy.upstreams.probes import QUESTION
from tests.fakes import answer, error, held, raw, says, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fakes import Call, FakeUpstream, Reply
    from tests.proxy.conftest import Running
    from tests.proxy.upstreams.peer import Peer

ROUTES = (
    {
        "name": "scored", "models": ["m"], "mode": "enforce", "scorers": ["mean_logprob"],
        "score_threshold": -1.0, "on_unmeasured": "answer",
    },
    {
        "name": "sampled", "models": ["s"], "mode": "enforce", "scorers": ["agreement_exact"], "samples": 3,
        "score_threshold": 0.9, "on_unmeasured": "answer",
    },
)  # fmt: skip
UNSURE = says("Ly", "on", logprob=-3.0)
MINE, THEIRS = (
    {"authorization": "Bearer sk-mine-1234567890"},
    {"authorization": "Bearer sk-theirs-1234567890"},
)
STATUSES = (400, 403, 404, 405, 422, 501)
TEXTS = (
    "logprobs are not supported by this model",
    "unknown parameter: n",
    "seed: not allowed",
    "no such path: /v1/responses",
    "something else",
)


class Action(NamedTuple):
    """Something that a client does: the upstream's replies to it, and its request."""

    name: str
    reply: Reply
    fields: Mapping[str, Any] = MappingProxyType({})
    path: str = "/v1/chat/completions"
    model: str = "m"
    leaves: bool = False


def refusing(status: int, text: str, *names: str) -> Reply:
    """Refuse requests with any of the parameters ``names`` (or the path ``/v1/responses``), and answer all others."""

    async def reply(call: Call, peer: Peer) -> None:
        refused = any(name in call.json or name == call.path for name in names)
        await (error(status, text) if refused else honest)(call, peer)

    return reply


async def honest(call: Call, peer: Peer) -> None:
    """Answer with as many choices as were asked for."""
    await answer(*[UNSURE] * call.json.get("n", 1))(call, peer)


def actions() -> list[Action]:
    """Return every action."""
    kinds = {
        "plain": {},
        "stream": {"stream": True},
        "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "json": {"response_format": {"type": "json_object"}},
        "reasoning": {"reasoning_effort": "low"},
    }
    found = [
        Action(f"{status} {text!r}, {kind}", refusing(status, text, "logprobs"), fields)
        for status in STATUSES
        for text in TEXTS
        for kind, fields in kinds.items()
    ]
    found += [
        Action(f"{status} for {name}", refusing(status, text, name), model="s")
        for status in STATUSES
        for name, text in (("n", TEXTS[1]), ("seed", TEXTS[2]))
    ]
    found += [
        Action(
            f"{status} for /v1/responses: {text!r}",
            refusing(status, text, "/v1/responses"),
            path="/v1/responses",
        )
        for status in STATUSES
        for text in TEXTS
    ]
    found += [
        Action("an over-long prompt", error(400, "maximum context length is 8192 tokens"), model="s"),
        Action("its own logprobs", error(400, TEXTS[0]), {"logprobs": True}),
        Action("its own n", answer(UNSURE), {"n": 5}),
        Action("a broken answer", raw(b"{")),
        Action("a cut stream", answer(UNSURE, stop_at=1, then="cut"), {"stream": True}),
        Action(
            "an error in a stream", stream(b'data: {"error": {"message": "logprobs"}}\n\n'), {"stream": True}
        ),
        Action("leaving", held(), leaves=True),
        Action("a wrong field", answer(UNSURE), {"messages": 3}),
        Action("fields of odd types", answer(UNSURE), {"temperature": "hot", "seed": 2**70}),
    ]
    return found


async def act(action: Action, proxy: Running, upstream: FakeUpstream) -> None:
    """Do one action, as the client with the credential ``THEIRS``."""
    prompt = upstream.script(action.reply)
    asked = (
        {"messages": [{"role": "user", "content": prompt}]} if "chat" in action.path else {"input": prompt}
    )
    body = {"model": action.model, **asked, **action.fields}
    if not action.leaves:
        await proxy.ask(action.path, body, headers=THEIRS)
        return
    leaves = asyncio.Event()
    asking = asyncio.ensure_future(proxy.ask(action.path, body, headers=THEIRS, leaves=leaves))
    await asyncio.to_thread(upstream.call, prompt)
    leaves.set()
    await asking


async def effects(proxy: Running, upstream: FakeUpstream) -> dict[str, Any]:
    """Return what the other client gets, and what the upstream is asked on its behalf."""
    found: dict[str, Any] = {}
    chat: Callable[[str], dict[str, Any]] = lambda text: {"messages": [{"role": "user", "content": text}]}  # noqa: E731
    requests: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
        "whole": ("/v1/chat/completions", lambda text: {"model": "m", **chat(text)}),
        "stream": ("/v1/chat/completions", lambda text: {"model": "m", "stream": True, **chat(text)}),
        "tools": ("/v1/chat/completions", lambda text: {"model": "m", **chat(text), "tools": [
            {"type": "function", "function": {"name": "f"}}]}),
        "samples": ("/v1/chat/completions", lambda text: {"model": "s", **chat(text)}),
        "responses": ("/v1/responses", lambda text: {"model": "m", "input": text}),
    }  # fmt: skip
    for name, (path, body) in requests.items():
        prompt = upstream.script(honest)
        reply = await proxy.ask(path, body(prompt), headers=MINE)
        calls = upstream.calls(prompt)
        asked = [(call.path, sorted(set(call.json) - {"seed"})) for call in calls]
        leaked = b"Ly" in reply.body
        found[name] = (reply.status, leaked, sorted(map(json.dumps, asked)))
    return found


@pytest.mark.parametrize("auth", ["key", "forward"])
async def test_no_action_changes_what_another_client_gets(serving, upstream, auth):
    """With a key, the proxy's own probes find every ability; without one, a proof holds for its credential alone."""
    upstream.script(honest, prompt=QUESTION)
    settings = {"auth": auth, "formats": ["chat", "responses"], "max_retries": 0}
    async with serving(*ROUTES, upstream=settings) as proxy:
        before = await effects(proxy, upstream)
        assert before["whole"][:2] == before["stream"][:2] == (200, False)
        changed = []
        for action in actions():
            await act(action, proxy, upstream)
            after = await effects(proxy, upstream)
            if after != before:
                changed.append(
                    (action.name, {name: after[name] for name in after if after[name] != before[name]})
                )
    assert changed == []
