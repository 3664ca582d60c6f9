"""Several workers behind one port: summed, replaced when one dies, and drained before they end."""

from __future__ import annotations

import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.proxies import Proxy, asking, enforced, wait_until, write_config
from tests.fakes import DEADLINE_S, answer, held, says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import FakeUpstream

_STARTED = re.compile(r"Started server process \[(\d+)\]")
ROUTE = "enforce"


def started(proxy: Proxy, number: int) -> list[int]:
    """Return the workers' process ids, once this many have started."""

    def pids() -> list[int]:
        return [int(pid) for pid in _STARTED.findall("".join(proxy.log))]

    wait_until(lambda: len(pids()) >= number, f"{number} workers do not start:\n{proxy.log}")
    return pids()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a worker for the duration of the body, so that another one must take the requests."""
    os.kill(pid, signal.SIGSTOP)
    state = Path(f"/proc/{pid}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it does not stop")
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def proxy(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Proxy]:
    """Two workers."""
    config = {
        "server": {"workers": 2},
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0}},
        "routes": [enforced(ROUTE)],
    }
    with Proxy("--config", write_config(tmp_path, config), cwd=tmp_path) as process:
        yield process


def ask(proxy: Proxy, upstream: FakeUpstream) -> None:
    """Send one request and check that it is answered."""
    response = proxy.post(asking(ROUTE, upstream.script(answer(says("Paris")))))
    assert response.json()["choices"][0]["message"]["content"] == "Paris"


def answered(proxy: Proxy) -> float:
    return proxy.metric("idk_requests_total", route=ROUTE, decision="answer", reason="confident")


def test_a_worker_that_dies_is_replaced_and_the_others_requests_go_on(proxy: Proxy, upstream: FakeUpstream):
    first, second = started(proxy, 2)
    ask_twice_each(proxy, upstream, first, second)
    with stopped(second), ThreadPoolExecutor() as pool:
        prompt = upstream.script(held(answer(says("Rome"))))
        waiting = pool.submit(proxy.post, asking(ROUTE, prompt))
        call = upstream.call(prompt)
        os.kill(second, signal.SIGKILL)
        *_, third = started(proxy, 3)
        with stopped(first):
            ask(proxy, upstream)
            # The dead one's are among them; the replacement answers for all.
            assert answered(proxy) == 5
        call.released.set()
        assert waiting.result(DEADLINE_S).json()["choices"][0]["message"]["content"] == "Rome"
    assert third not in (first, second)
    wait_until(lambda: answered(proxy) == 6, "the last one is not counted")


def ask_twice_each(proxy: Proxy, upstream: FakeUpstream, *workers: int) -> None:
    """Two requests to each of two workers; any of them tells the sum."""
    for other in workers:
        with stopped(other):
            ask(proxy, upstream)
            ask(proxy, upstream)
    for other in workers:
        with stopped(other):
            assert answered(proxy) == 4


def test_what_is_under_way_ends_before_the_workers_do(proxy: Proxy, upstream: FakeUpstream):
    with ThreadPoolExecutor() as pool:
        prompt = upstream.script(held(answer(says("Oslo"))))
        waiting = pool.submit(proxy.post, asking(ROUTE, prompt))
        call = upstream.call(prompt)
        proxy.stop()
        host, port = proxy.url.removeprefix("http://").split(":")

        def refused() -> bool:
            try:
                socket.create_connection((host, int(port)), DEADLINE_S).close()
            except ConnectionError:
                return True
            return False

        wait_until(refused, "it goes on listening")
        call.released.set()
        assert waiting.result(DEADLINE_S).json()["choices"][0]["message"]["content"] == "Oslo"
    assert proxy.wait() == 0


def alive(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_workers_whose_parent_was_killed_finish_and_end(proxy: Proxy, upstream: FakeUpstream):
    workers = started(proxy, 2)
    with ThreadPoolExecutor() as pool:
        prompt = upstream.script(held(answer(says("Bern"))))
        waiting = pool.submit(proxy.post, asking(ROUTE, prompt))
        call = upstream.call(prompt)
        proxy.signal(signal.SIGKILL)
        wait_until(lambda: sum(map(alive, workers)) == 1, "the idle one goes on")
        call.released.set()
        assert waiting.result(DEADLINE_S).json()["choices"][0]["message"]["content"] == "Bern"
    wait_until(lambda: not any(map(alive, workers)), "they go on")


@pytest.mark.parametrize("number", [1, 2])
def test_what_serves_holds_nothing_of_the_command_line(tmp_path: Path, upstream: FakeUpstream, number: int):
    with Proxy("--upstream", upstream.base_url, "--workers", str(number), cwd=tmp_path) as proxy:
        for pid in started(proxy, number):
            mapped = Path(f"/proc/{pid}/maps").read_text()
            assert "_multiarray_umath" in mapped  # numpy: this is how a library shows
            assert "pydantic" not in mapped  # which Typer brings
