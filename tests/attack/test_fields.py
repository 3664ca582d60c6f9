"""Every request field with an odd value, on every surface: no answer is released as certified that was not measured so.

The policy was fitted on plain requests. An upstream answers every request with sure tokens and a marker word. Where the
request sets a field that shapes an answer, the marker must not come out; where the field is inert, the answer is served
and certified. Some seconds in all.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Policy
from gating.combine import Single
from gating.risk import upper_bound
from proxy.app import App, build
from proxy.config import parse
from proxy.surfaces.field_table import INERT, NAMES, PINNED, SAMPLING, SPELLINGS
from tests.fakes import FakeUpstream, answer, says
from tests.proxy.asgi_client import Reply, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

MARKER = "marker"
#: The fields of each surface that hold the conversation, or that the format requires.
CONTENT: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Why?"}]},
    "/v1/responses": {"input": "Why?"},
    "/v1/completions": {"prompt": "Why?"},
}
ODD_VALUES = (7, "odd", ["odd"], {"odd": 1}, True)
#: Length limits shape an answer only if they cut it off; these are the names of other parts of this test.
LIMITS = {"max_tokens", *(name for name, known in SPELLINGS.items() if known == "max_tokens")}
CONVERSATION = {
    "messages",
    "input",
    "prompt",
    "instructions",
    "system",
    "model",
    "idk",
    "stream",
    "background",
}
#: Fields that exist only inside a conversation.
DERIVED = {"prefill", "media", "earlier_turns", "message_fields"}
SHAPING = sorted(
    name
    for name in (PINNED | set(SAMPLING) | SPELLINGS.keys() | {"foo", "x_unknown"})
    - CONVERSATION
    - LIMITS
    - DERIVED
    if "." not in name
)


def policy(fields: dict[str, Any]) -> Policy:
    scores = [-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0] * 20
    right = [index % 20 < 1 + 3 * (index % 7) for index in range(140)]
    return Policy(
        name="support",
        combination=Single(SCORERS["mean_logprob"]),
        calibrator=CALIBRATORS["platt"]().fit(scores, right),
        threshold=0.6,
        certificate=Certificate(0.1, 0.1, 3, 120, 200, upper_bound(3, 120, 0.1)),
        fingerprint={"model": "m", "fields": fields},
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    """An upstream that says the marker word to everything."""
    with FakeUpstream(answer(says(MARKER))) as server:
        yield server


class Running:
    """An application with the given route, before the upstream."""

    def __init__(self, route: dict[str, Any], folder: Path, base_url: str) -> None:
        config = {
            "upstreams": {"u": {"base_url": base_url, "max_retries": 0}},
            "routes": [{"models": ["*"], "upstream": "u", **route}],
        }
        self.parts = build(parse(yaml.safe_dump(config), "test.yaml"), folder=folder, environ={})
        self._app = App(self.parts)

    async def ask(self, path: str, body: Any, **given: Any) -> Reply:
        """Send one request."""
        return await ask(self._app, path, body, **given)

    async def chat(self, prompt: str, **fields: Any) -> Reply:
        """Ask for a chat completion."""
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
        return await self.ask("/v1/chat/completions", body)

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.parts.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def serving(upstream: FakeUpstream, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Make an application with one route."""

    @asynccontextmanager
    async def serve(route: dict[str, Any]) -> AsyncIterator[Running]:
        running = Running(route, tmp_path, upstream.base_url)
        try:
            yield running
        finally:
            await running.parts.aclose()

    return serve


@pytest.fixture
def route(tmp_path: Path) -> dict[str, Any]:
    """An enforcing route with a policy for plain requests."""
    (tmp_path / "p.json").write_text(json.dumps(policy({}).to_dict()))
    return {"name": "r", "mode": "enforce", "policy": "p.json"}


def decision(reply: Any) -> dict[str, Any]:
    """Return the one choice of the ``idk`` field, with ``certified`` beside it."""
    told = reply.json["idk"]
    return {**told["choices"][0], "certified": told["certified"]}


@pytest.mark.parametrize("path", CONTENT)
async def test_a_plain_request_is_served_and_certified(serving, route, path):
    async with serving(route) as proxy:
        reply = await proxy.ask(path, {"model": "m", **CONTENT[path]})
        assert reply.status == 200, reply.text
        assert decision(reply)["certified"], reply.text
        assert MARKER in reply.text


@pytest.mark.parametrize("match", ["strict", "pin"])
@pytest.mark.parametrize("path", CONTENT)
async def test_a_field_that_shapes_the_answer_is_refused_withheld_or_replaced(
    serving, upstream, route, path, match
):
    async with serving({**route, "match": match}) as proxy:
        for name in SHAPING:
            for value in ODD_VALUES:
                reply = await proxy.ask(path, {"model": "m", **CONTENT[path], name: value})
                place = f"{path} {name}: {json.dumps(value)}: {reply.text}"
                if reply.status == 400:
                    continue  # refused: the surface knows the field and its type
                assert reply.status == 200, place
                told = decision(reply)
                replaced = match == "pin" and SPELLINGS.get(name, name) in SAMPLING
                if told["decision"] == "answer":
                    assert replaced or _means_nothing(name, value), place
                    continue
                assert (told["reason"], told["certified"]) == ("unmeasured", False), place
                assert MARKER not in reply.text, place
                assert SPELLINGS.get(name, name) in told["detail"] or name in told["detail"], place


def _means_nothing(name: str, value: object) -> bool:
    return name in ("n", "best_of") and value is True


@pytest.mark.parametrize("path", CONTENT)
async def test_an_inert_field_costs_no_answer(serving, route, path):
    async with serving(route) as proxy:
        for name in sorted(INERT - CONVERSATION):
            if "." in name:
                continue
            reply = await proxy.ask(path, {"model": "m", **CONTENT[path], name: None})
            assert decision(reply)["certified"], f"{name}: {reply.text}"
        asked = {"model": "m", **CONTENT[path], "user": "me", "metadata": {"a": "b"}, "store": False}
        assert decision(await proxy.ask(path, asked))["certified"]


@pytest.mark.parametrize("path", CONTENT)
async def test_on_unmeasured_answer_releases_no_mismatch(serving, route, path):
    async with serving({**route, "on_unmeasured": "answer"}) as proxy:
        for name in ("foo", "logit_bias", "top_k", "grammar", "seed"):
            reply = await proxy.ask(
                path, {"model": "m", **CONTENT[path], name: {"1": 1} if name == "logit_bias" else 1}
            )
            assert MARKER not in reply.text, name
            assert decision(reply)["decision"] == "abstain", name


@pytest.mark.parametrize("path", CONTENT)
async def test_a_name_in_another_case_or_given_twice_is_refused(serving, route, path):
    async with serving(route) as proxy:
        for name in sorted(NAMES):
            for spelled in {
                name.upper(),
                name.title(),
                name.replace("s", "\u017f"),
                name.replace("k", "\u212a"),
            } - {name}:
                reply = await proxy.ask(path, {"model": "m", **CONTENT[path], spelled: "other"})
                assert reply.status == 400, spelled
        body = json.dumps({"model": "m", **CONTENT[path]}).encode()
        for twice in (b'"model": "other"', b'"m\\u006fdel": "other"', b'"temperature": 0, "temperature": 1'):
            for changed in (body[:-1] + b", " + twice + b"}", b"{" + twice + b", " + body[1:]):
                reply = await proxy.ask(path, changed, headers={"content-type": "application/json"})
                assert reply.status == 400, changed


async def test_the_client_is_told_each_difference_with_both_values_and_it_is_counted(serving, route):
    async with serving(route) as proxy:
        reply = await proxy.chat("Why?", temperature=0, foo=1)
        assert decision(reply)["detail"] == (
            "temperature: 0; the policy was fitted with no value; foo: 1; the policy was fitted with no value"
        )
        assert proxy.count("idk_unmatched_total", route="r", field="temperature") == 1
        assert proxy.count("idk_unmatched_total", route="r", field="other") == 1


async def test_an_ordinary_app_is_answered_and_certified_under_pin(serving, upstream, route):
    async with serving({**route, "match": "pin"}) as proxy:
        reply = await proxy.chat("An ordinary question", temperature=0, max_tokens=50, user="me")
        assert decision(reply)["certified"]
        assert "temperature: the policy's value (none) was used in place of 0" in decision(reply)["detail"]
        sent = upstream.calls("/v1/chat/completions") or upstream.calls("An ordinary question")
        assert all("temperature" not in call.json for call in sent)


async def test_an_answer_of_another_model_is_judged_and_not_certified(serving, tmp_path, route):
    fitted = policy({}).to_dict()
    fitted["fingerprint"]["answered_by"] = ["m-2024"]
    if isinstance(fitted["certificate"], dict):
        fitted["certificate"]["fingerprint"] = None
    (tmp_path / "p.json").write_text(json.dumps(fitted))
    async with serving(route) as proxy:
        reply = await proxy.chat("Why?")
        assert (decision(reply)["decision"], decision(reply)["certified"]) == ("answer", False)
        assert "model: m; the policy was fitted with m-2024" in decision(reply)["detail"]
        assert proxy.count("idk_unmatched_total", route="r", field="model") == 1
