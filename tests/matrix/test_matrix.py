"""Each cell: the client sees what it must, and nothing of what is withheld."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.app import build
from proxy.config import parse
from proxy.surfaces import SURFACES
from tests.fakes import FakeUpstream
from tests.matrix.cells import GATED_CALL, RESULT, SECRET, UNKNOWN, Cell, cells, said, table
from tests.matrix.doors import DOORS, events_of
from tests.proxy.conftest import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.proxy.asgi_client import Reply

CELLS = list(cells())
#: What tells a request for a sample from the one for the answer: the route's own temperature.
SAMPLED = 0.7


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@asynccontextmanager
async def proxy(upstream: FakeUpstream, folder: Path) -> AsyncIterator[Running]:
    fake = {"base_url": upstream.base_url, "max_retries": 0, "breaker": {"failures": 0}}
    logprobs = {"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -0.5}
    samples = {
        "mode": "enforce", "scorers": ["agreement"], "score_threshold": 0.5, "samples": 1,
        "sampling": {"temperature": SAMPLED},
    }  # fmt: skip
    config = {
        "upstreams": {
            "its own format": {**fake, "formats": ["chat", "completions", "responses", "messages"]},
            "chat completions": {**fake, "formats": ["chat"]},
        },
        "routes": [],
    }
    config["upstreams"] = {name.replace(" ", "-"): made for name, made in config["upstreams"].items()}
    for name in config["upstreams"]:
        for evidence, settings in (("logprobs", logprobs), ("samples", samples)):
            for gated in (False, True):
                route = f"{name}.{evidence}.{gated}"
                config["routes"].append(
                    {"name": route, "models": [route], "upstream": name, "gate_tools": gated, **settings}
                )
    loaded = parse(yaml.safe_dump(config), "matrix.yaml")
    running = Running(build(loaded, folder=folder, environ={}))
    try:
        yield running
    finally:
        await running.parts.aclose()


def test_every_surface_has_a_door():
    assert set(DOORS) == set(SURFACES)
    assert {door.path for door in DOORS.values()} == {f"/v1{surface.path}" for surface in SURFACES.values()}
    shapes = {frozenset(door.shapes) for door in DOORS.values()}
    assert len(shapes) == 1


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("evidence", ["logprobs", "samples"])
async def test_the_cells_of_a_surface(surface, evidence, upstream, tmp_path):
    """One proxy serves every cell; the first wrong cell is named."""
    chosen = [
        cell for cell in CELLS if (cell.surface, cell.evidence) == (surface, evidence) and not cell.absent
    ]
    assert len(chosen) > 20
    async with proxy(upstream, tmp_path) as running:
        for cell in chosen:
            reply = await ask(cell, running, upstream)
            assert seen(cell, reply) == cell.expected, f"{cell}: {reply.body[:2_000]!r}"
            if cell.expected == "withheld":
                assert SECRET.encode() not in reply.body, str(cell)


async def ask(cell: Cell, running: Running, upstream: FakeUpstream) -> Reply:
    door = DOORS[cell.surface]
    reply = said(cell)
    prompt = upstream.script(reply)
    if cell.evidence == "samples" and cell.outcome in ("abstain", "unmeasured"):
        prompt = upstream.script(_disagreeing(cell))
    model = f"{cell.upstream.replace(' ', '-')}.{cell.evidence}.{cell.shape == GATED_CALL}"
    assert isinstance(cell.fields, dict)
    body = {"model": model, **door.asks(prompt), **cell.fields, "stream": cell.stream}
    return await running.ask(door.path, body)


def _disagreeing(cell: Cell) -> Any:
    """Reply to the client with an answer, and to the sampler with another one (or nothing, if that is the outcome)."""
    from tests.fakes import answer, error, says

    served = said(cell)
    other = answer(says("Mar", "seille")) if cell.outcome == "abstain" else error(500, "no samples today")

    async def reply(call: Any, peer: Any) -> None:
        await (other if call.json.get("temperature") == SAMPLED else served)(call, peer)

    return reply


def seen(cell: Cell, reply: Reply) -> str:
    """Return what the client sees."""
    door = DOORS[cell.surface]
    if reply.status != 200:
        assert reply.status == 429
        # The message may repeat the model's output: it is not shown where the route enforces.
        assert "its message is not shown" in reply.json["error"]["message"]
        return "error"
    if cell.stream:
        events = events_of(reply)
        texts, report = door.streamed(events), door.reported(events)
    else:
        texts, report = door.whole(reply.json), reply.json["idk"]
    assert report["mode"] == "enforce"
    if door.calls(reply.body.decode().replace(" ", "")):
        assert report["choices"][0]["reason"] == ("tool_call" if cell.shape == "tool call" else "confident")
        return "call"
    assert len(set(texts)) == 1, texts
    reasons = {choice["reason"] for choice in report["choices"]}
    if texts[0] == UNKNOWN:
        assert reasons <= {"below_threshold", "unmeasured", "budget"}
        return "withheld"
    # Anthropic's refusals have no content: text before a refusal is an answer, and judged as one.
    if texts[0] in ("I cannot.", ""):
        assert reasons == {"upstream_abstained"}
        return "refusal"
    assert (texts[0], reasons) == ("Paris", {"confident"})
    return "answered"


def test_the_page_is_as_the_tables_are():
    assert RESULT.read_text() == table(), "run python -m tests.matrix.cells"
