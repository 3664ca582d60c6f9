"""No shape of an upstream's answer brings its text past a route that enforces. Runs in about a minute."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attack.answers import MARKER, SHAPES, SURFACES, Shape, events, request
from tests.fakes import raw, stream

#: No score passes the threshold: mean logprobs are below 0.
UNSURE = {"name": "r", "mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": 0.0}
#: The formats that the upstream speaks: each surface natively, and over chat completions.
FORMATS = {"native": list(SURFACES), "over chat": ["chat"]}
CASES = [
    (surface, formats)
    for surface in SURFACES
    for formats in FORMATS
    if formats == "native" or surface in ("responses", "messages")
]


def _is_readable(shape: Shape, surface: str, formats: str) -> bool:
    """Return whether the surface reads the whole text of a shape, so that ``on_unmeasured`` decides about it."""
    return (surface if formats == "native" else "chat") in shape.readable


@pytest.mark.parametrize(("surface", "formats"), CASES)
@pytest.mark.parametrize("on_unmeasured", ["abstain", "answer"])
async def test_whole(serving, upstream, surface, formats, on_unmeasured):
    route = UNSURE | {"on_unmeasured": on_unmeasured}
    found = []
    async with serving(route, upstream={"formats": FORMATS[formats]}) as proxy:
        for shape in SHAPES:
            if on_unmeasured == "answer" and _is_readable(shape, surface, formats):
                continue
            prompt = upstream.script(raw(json.dumps(shape.body).encode()))
            reply = await proxy.ask(SURFACES[surface], request(surface, prompt))
            found.append((shape.name, *_leak(reply)))
    _check(found)


@pytest.mark.parametrize(("surface", "formats"), CASES)
@pytest.mark.parametrize("on_unmeasured", ["abstain", "answer"])
async def test_streamed(serving, upstream, surface, formats, on_unmeasured):
    route = UNSURE | {"on_unmeasured": on_unmeasured}
    found = []
    async with serving(route, upstream={"formats": FORMATS[formats]}) as proxy:
        for shape in SHAPES:
            if on_unmeasured == "answer" and _is_readable(shape, surface, formats):
                continue
            for name, payloads in events(surface if formats == "native" else "chat", shape):
                for end in (b"", b"data: [DONE]\n\n"):
                    sent = b"".join(b"data: %b\n\n" % json.dumps(payload).encode() for payload in payloads)
                    prompt = upstream.script(stream(sent + end))
                    reply = await proxy.ask(SURFACES[surface], request(surface, prompt, stream=True))
                    found.append((f"{shape.name}, {name}, {end!r}", *_leak(reply)))
    _check(found)


@pytest.mark.parametrize("surface", ["chat", "completions"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_withheld_choice_beside_a_served_one(serving, upstream, surface, streamed):
    """The served choice keeps its fields; everything else of the answer is built anew."""

    def choice(index: int, text: str, logprob: float) -> dict[str, Any]:
        token = {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
        said = (
            {"text": text}
            if surface == "completions"
            else {"message": {"content": text}, "delta": {"content": text}}
        )
        return {"index": index, **said, "logprobs": {"content": [token]}, "finish_reason": "stop", "x": text}

    body = {"id": "x", "choices": [choice(0, "Paris", -0.01), choice(1, MARKER, -9.0)], "more": MARKER}
    sent = json.dumps(body).encode()
    reply_ = stream(b"data: %b\n\ndata: [DONE]\n\n" % sent) if streamed else raw(sent)
    async with serving(UNSURE | {"score_threshold": -1.0}, upstream={"formats": list(SURFACES)}) as proxy:
        prompt = upstream.script(reply_)
        reply = await proxy.ask(SURFACES[surface], request(surface, prompt, n=2, stream=streamed))
    assert reply.status == 200
    assert b"Paris" in reply.body
    assert MARKER.encode() not in reply.body


def _leak(reply: Any) -> tuple[int, bool]:
    """Return the status of a reply, and whether the marker is anywhere in it."""
    headers = " ".join(f"{name}: {value}" for name, value in reply.headers.items())
    return reply.status, MARKER.encode() in reply.body or MARKER in headers


def _check(found: list[tuple[str, int, bool]]) -> None:
    """Fail with the names of the shapes that were answered with the marker, or with an unexpected status."""
    assert len(found) > len(SHAPES) // 2
    assert [name for name, _, leaked in found if leaked] == []
    assert [(name, status) for name, status, _ in found if status not in (200, 502)] == []
