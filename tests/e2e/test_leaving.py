"""Cancelled requests: a client that disconnects cancels the upstream, and so does a settled abstention."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from tests.e2e.proxies import Proxy, asking, enforced, events, write_config
from tests.fakes import DEADLINE_S, answer, held, raw, says

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes import FakeUpstream

PID = re.compile(r"Started server process \[(\d+)\]")
LONG = says(*(f"word{place} " for place in range(20)), logprob=-0.01)
#: The third token alone decides; 17 more would come.
DOOMED = says(*(f"word{place} " for place in range(20)), logprob=[-0.01, -0.01, -9.0, *([-0.01] * 17)])


def becomes(read: Callable[[], float], wanted: float) -> bool:
    """Return whether a metric reaches a value in time; the proxy counts after it has cancelled."""
    until = time.monotonic() + DEADLINE_S
    while read() != wanted:
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.01)
    return True


@contextlib.contextmanager
def counting(proxy: Proxy, route: str, cause: str):
    """Check that one cancelled upstream call of this cause is counted during the body."""

    def read() -> float:
        return proxy.metric("idk_upstream_cancelled_total", route=route, cause=cause)

    before = read()
    yield
    assert becomes(read, before + 1)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["enforce", "observe", "off"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_before_the_first_byte(
    proxy: Proxy, upstream: FakeUpstream, model, streamed, reset
):
    prompt = upstream.script(held())
    with counting(proxy, model, "disconnect"):
        connection = proxy.open(asking(model, prompt, stream=streamed))
        call = upstream.call(prompt)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert call.was_left()


@pytest.mark.parametrize("model", ["observe", "off"])
def test_a_client_that_leaves_in_the_middle_of_a_stream(proxy: Proxy, upstream: FakeUpstream, model):
    prompt = upstream.script(answer(LONG, stop_at=6))
    with counting(proxy, model, "disconnect"):
        connection = proxy.open(asking(model, prompt, stream=True))
        seen = b""
        while b"word3" not in seen:
            seen += connection.recv(65_536)
        connection.close()
        assert upstream.call(prompt).was_left()


def test_a_client_that_leaves_while_its_stream_is_held(proxy: Proxy, upstream: FakeUpstream):
    prompt = upstream.script(answer(LONG, stop_at=6))
    with counting(proxy, "enforce", "disconnect"):
        connection = proxy.open(asking("enforce", prompt, stream=True))
        seen = b""
        while b"keep-alive" not in seen:
            seen += connection.recv(65_536)
        connection.close()
        assert upstream.call(prompt).was_left()
    assert b"word" not in seen


def test_the_officials_client_close_is_seen(proxy: Proxy, upstream: FakeUpstream):
    prompt = upstream.script(answer(LONG, stop_at=6))
    with (
        openai.OpenAI(base_url=proxy.base_url, api_key="none", max_retries=0) as client,
        client.chat.completions.create(
            model="observe", messages=[{"role": "user", "content": prompt}], stream=True
        ) as stream,
    ):
        next(iter(stream))
    assert upstream.call(prompt).was_left()


def test_a_passed_through_download_is_cancelled_too(proxy: Proxy, upstream: FakeUpstream):
    upstream.serve("/v1/things/slow", held(raw(b"{}")))
    connection = proxy.open({"model": "observe"}, "/v1/things/slow")
    call = upstream.call("/v1/things/slow")
    connection.close()
    assert call.was_left()


def test_a_client_that_leaves_within_its_own_body(proxy: Proxy):
    """A client that disconnects before its request is complete causes no upstream call and no error."""
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as connection:
        connection.sendall(
            b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"mod'
        )
    assert proxy.post(b"{}").status_code == 400


class TestSettled:
    """The gate cannot pass what the lowest or the summed logprob already fails."""

    @pytest.mark.parametrize("model", ["minimum", "sequence"])
    def test_the_upstream_is_cancelled(self, proxy, upstream, model):
        prompt = upstream.script(answer(DOOMED, stop_at=8))
        with counting(proxy, model, "abstained"):
            got = proxy.post(asking(model, prompt, stream=True))
            assert upstream.call(prompt).was_left()
        chunks = events(got)
        text = "".join(c["delta"].get("content") or "" for e in chunks for c in e["choices"])
        assert text == "I don't know."
        assert "word" not in got.text
        assert chunks[-1]["idk"]["choices"][0]["reason"] == "below_threshold"
        assert got.headers["x-idk-decision"] == "abstain"

    def test_unknown_usage_is_null(self, proxy, upstream):
        prompt = upstream.script(answer(DOOMED, stop_at=8))
        body = asking("minimum", prompt, stream=True, stream_options={"include_usage": True})
        assert events(proxy.post(body))[-1]["usage"] is None

    def test_both_of_two_must_be_settled(self, proxy, upstream):
        prompt = upstream.script(answer(DOOMED, LONG))
        got = events(proxy.post(asking("minimum", prompt, n=2, stream=True)))
        assert not upstream.call(prompt).left.is_set()
        assert [choice["decision"] for choice in got[-1]["idk"]["choices"]] == ["abstain", "answer"]

    def test_words_before_a_tool_call_settle_nothing(self, proxy, upstream):
        prompt = upstream.script(answer(DOOMED))
        tools = [{"type": "function", "function": {"name": "weather"}}]
        proxy.post(asking("minimum", prompt, stream=True, tools=tools))
        assert not upstream.call(prompt).left.is_set()

    def test_observe_never_cancels(self, proxy, upstream):
        prompt = upstream.script(answer(DOOMED))
        assert "word19" in proxy.post(asking("observe", prompt, stream=True)).text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_told_to_end_is_not_ready_first_and_listens_on_meanwhile(tmp_path, upstream, workers):
    config = {
        "server": {"workers": workers, "drain_lead_s": 3600},
        "upstreams": {"fake": {"base_url": upstream.base_url}},
        "routes": [enforced("enforce")],
    }
    with Proxy("--config", write_config(tmp_path, config), cwd=tmp_path) as proxy:

        def ready() -> int:
            return httpx.get(f"{proxy.url}/health/ready", timeout=DEADLINE_S).status_code

        def becomes_unready() -> bool:
            # Every worker is: many connections, each taken by any of them.
            return all(ready() == 503 for _ in range(20 * workers))

        assert ready() == 200
        proxy.stop()
        until = time.monotonic() + DEADLINE_S
        while not becomes_unready():
            assert time.monotonic() < until, "it stays ready"
        body = proxy.post(asking("enforce", upstream.script(answer(says("Paris"))))).json()
        assert body["choices"][0]["message"]["content"] == "Paris"
        for pid in PID.findall("".join(proxy.log)):
            os.kill(int(pid), signal.SIGINT)  # a person has no patience
        proxy.wait()
