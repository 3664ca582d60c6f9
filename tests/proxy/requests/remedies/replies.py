"""A gated route, an answer that declines, and readers of replies, whole and streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.fakes import says

if TYPE_CHECKING:
    from tests.proxy.asgi_client import Reply

SURE = -0.01
GATE = {"mode": "enforce", "scorers": ["mean_logprob"], "score_threshold": -0.5, "name": "docs"}


DECLINES = says("The context", " does not", " mention it.", logprob=SURE)


def events(reply: Reply) -> list[Any]:
    """Return the payloads of an event stream; none if the answer came whole."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return []
    lines = [line.removeprefix(b"data: ") for line in reply.body.splitlines() if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def said(reply: Reply) -> Any:
    """Return the ``idk`` field of a reply."""
    came = events(reply)
    return (came[-1] if came else reply.json)["idk"]


def texts(reply: Reply) -> Any:
    """Return the content of a reply."""
    came = events(reply)
    if not came:
        return reply.json["choices"][0]["message"]["content"]
    return "".join(choice["delta"].get("content") or "" for event in came for choice in event["choices"])
