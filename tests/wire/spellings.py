"""Every spelling of an answer seen on a real server, on all surfaces and in all modes.

Each file of ``answers/`` is one upstream's answer:

    about, source   what is unusual, and where it was seen
    format          the upstream's format: chat, completions, responses or messages
    body | stream   the bytes of a whole answer, or of an event stream; the answer has the word "Zanzibar" in it
    measured        whether the gate can measure the answer by its logprobs, and serves it if it is sure
    reason          a part of the reason why it cannot
    hidden          a word that a route which enforces never sends
    error           whether the stream ends with an error
    id              the id that an abstention carries
    request         further fields of the request

A new report becomes a file here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILES = sorted((Path(__file__).parent / "answers").glob("*.json"))
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
GATED = {"name": "r", "scorers": ["mean_logprob"]}
#: Routes by their names: what is sure passes, nothing passes, everything is sent.
ROUTES = {
    "sure": GATED | {"mode": "enforce", "score_threshold": -1.0},
    "unsure": GATED | {"mode": "enforce", "score_threshold": 0.0},
    "observe": GATED | {"mode": "observe", "score_threshold": -1.0},
    "off": {"name": "r", "mode": "off"},
}


def asked(case: dict[str, Any], surface: str, prompt: str) -> dict[str, Any]:
    """Return the client's request."""
    streams = {"stream": True} if "stream" in case else {}
    if surface == "completions":
        return {"model": "m", "prompt": prompt, **streams}
    if surface == "responses":
        return {"model": "m", "input": prompt, **streams}
    more = case.get("request", {}) if surface == "chat" else {}
    messages = [{"role": "user", "content": prompt}]
    return {"model": "m", "messages": messages, "max_tokens": 99, **more, **streams}
