"""The ways in which every fault is tried, and what a client makes of what it gets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from tests.faults.upstreams import SECRET
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    import httpx

UNKNOWN: Final = "I don't know."
#: The names of the routes too.
MODES: Final = ("enforce", "observe")
#: The second is translated to the first at an upstream that only speaks it.
SURFACES: Final = ("chat", "responses")


@dataclass(frozen=True, slots=True)
class Way:
    """On this surface, whole or streamed, of a route that enforces or only observes."""

    surface: str
    streamed: bool
    mode: str

    def __str__(self) -> str:
        """Return the id of the parametrised test."""
        return f"{self.surface}-{'stream' if self.streamed else 'whole'}-{self.mode}"

    @property
    def path(self) -> str:
        return DOORS[self.surface].path

    def asks(self, prompt: str, route: str | None = None) -> dict[str, Any]:
        """Send the request to ``route``, by default the route of the mode."""
        return {"model": route or self.mode, **DOORS[self.surface].asks(prompt), "stream": self.streamed}

    def unsure(self) -> str:
        """Return the correct result where the upstream answers with the secret and is not confident."""
        return UNKNOWN if self.mode == "enforce" else "".join(SECRET)

    def said(self, got: httpx.Response) -> str:
        """See ``outcome``."""
        return outcome(got, streamed=self.streamed, surface=self.surface)


#: The simplest of them, to see that all is well.
PLAINLY: Final = Way("chat", streamed=False, mode="enforce")
WAYS: Final = tuple(Way(*each) for each in product(SURFACES, (False, True), MODES))


#: The result of a response without a readable answer, which an observing route passes on as it came.
UNREAD: Final = "passed on unread"


def outcome(got: httpx.Response, *, streamed: bool, surface: str) -> str:
    """Return the answer's text, or ``error: …``; fails for any other response."""
    door = DOORS[surface]
    if not got.headers["content-type"].startswith("text/event-stream"):
        body = got.json()
        if not isinstance(body, dict) or body.get("choices", ...) is None:
            return UNREAD
        if "error" in body and body["error"] is not None:
            assert set(body) == {"error"}
            return f"error: {body['error']['message']}"
        assert not streamed
        return door.whole(body)[0] or UNREAD
    payloads = [line.removeprefix("data: ") for line in got.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(payload) for payload in payloads if payload != "[DONE]"]
    last = events[-1]
    if last.get("error") is not None or last.get("type") == "error":
        return f"error: {last.get('message') or last['error']['message']}"
    assert surface != "chat" or payloads[-1] == "[DONE]"
    assert door.reported(events)["mode"] in MODES
    return door.streamed(events)[0]


def withheld(got: httpx.Response, said: str, name: str) -> None:
    """Assert that no word of the secret is in the headers or the body."""
    everything = got.text + str(got.headers)
    for word in SECRET:
        assert word not in everything, f"{name}: {everything[:2_000]}"
    assert said == UNKNOWN or said.startswith("error")


def outcome_class(got: httpx.Response, said: str) -> str:
    """Return the kind of response that the client received, for the table."""
    if said.startswith("error"):
        return f"{got.status_code} error" if got.status_code != 200 else "error in the stream"
    return {UNKNOWN: "I don't know", UNREAD: UNREAD}.get(said, "answer")
