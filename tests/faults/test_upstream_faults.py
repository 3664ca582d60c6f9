"""Each fault of an upstream, whole and streamed, enforced and observed: a right answer or a right error, in time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.proxies import asking
from tests.fakes import answer, says
from tests.faults.conftest import TIMEOUT_S
from tests.faults.process import Process
from tests.faults.upstreams import FAULTS, SECRET, Fault
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    import httpx

    from tests.e2e.proxies import Proxy
    from tests.fakes import FakeUpstream

UNKNOWN = "I don't know."
#: The upstream's own time, once more for a retry without logprobs, and room on a busy machine.
DEADLINE_S = 2 * TIMEOUT_S + 3.0
MODES = ("enforce", "observe")
#: The second is translated to the first at an upstream that only speaks it.
SURFACES = ("chat", "responses")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(proxy: Proxy, upstream: FakeUpstream):
    """After all faults the process is as it was: sockets, memory, and it answers."""
    sure = upstream.script(answer(says("Par", "is")))
    assert proxy.post(asking("enforce", sure)).json()["choices"][0]["message"]["content"] == "Paris"
    process = Process(proxy.pid)
    before = process.sockets()
    yield
    assert proxy.post(asking("enforce", sure)).json()["choices"][0]["message"]["content"] == "Paris"
    # One connection of ours and those that it keeps warm to the upstream may be there.
    assert process.settles(lambda: process.sockets() <= before + 2), process.sockets()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_upstream(name, surface, streamed, mode, proxy, upstream, record):
    fault, door = FAULTS[name], DOORS[surface]
    prompt = upstream.script(fault.reply)
    errors = proxy.metric_sum("idk_upstream_errors_total", upstream="fake")
    started = time.monotonic()
    got = proxy.post({"model": mode, **door.asks(prompt), "stream": streamed}, door.path)
    took = time.monotonic() - started
    assert took < DEADLINE_S
    said = outcome(got, streamed=streamed, surface=surface)
    assert got.status_code in (fault.streamed if streamed else fault.whole), said
    if mode == "enforce":
        withheld(got, said, name)
    elif fault.measured:
        assert "".join(SECRET) in said
    if said.startswith("error"):
        assert proxy.metric_sum("idk_upstream_errors_total", upstream="fake") > errors
    record.add(name, outcome_class(got, said))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_an_upstream_that_refuses_connections(streamed, mode, proxy, record):
    got = proxy.post(asking(f"gone-{mode}", "?", stream=streamed))
    assert got.status_code == 502
    record.add("refuses connections", outcome_class(got, outcome(got, streamed=False)))


def withheld(got: httpx.Response, said: str, name: str) -> None:
    """None of the secret's words, in no header and in no byte of the body."""
    everything = got.text + str(got.headers)
    for word in SECRET:
        assert word not in everything, f"{name}: {everything[:2_000]}"
    assert said == UNKNOWN or said.startswith("error")


def outcome(got: httpx.Response, *, streamed: bool, surface: str = "chat") -> str:
    """The answer's text, or ``error: …``; what is neither fails."""
    door = DOORS[surface]
    if not got.headers["content-type"].startswith("text/event-stream"):
        body = got.json()
        if "error" in body and body["error"] is not None:
            assert set(body) == {"error"}
            return f"error: {body['error']['message']}"
        assert not streamed
        return door.whole(body)[0]
    payloads = [line.removeprefix("data: ") for line in got.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(payload) for payload in payloads if payload != "[DONE]"]
    last = events[-1]
    if last.get("error") is not None or last.get("type") == "error":
        return f"error: {last.get('message') or last['error']['message']}"
    assert surface != "chat" or payloads[-1] == "[DONE]"
    assert door.reported(events)["mode"] in MODES
    return door.streamed(events)[0]


def outcome_class(got: httpx.Response, said: str) -> str:
    """For the table: what kind of thing the client saw."""
    if said.startswith("error"):
        return f"{got.status_code} error" if got.status_code != 200 else "error in the stream"
    return "I don't know" if said == UNKNOWN else "answer"


def test_the_table_is_of_faults():
    assert all(isinstance(fault, Fault) for fault in FAULTS.values())
    assert len(FAULTS) > 30
