"""Graceful shutdown, with signals to this process; whole servers are in tests/e2e."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from proxy.server.shutdown import end_with_parent, graceful_shutdown


@pytest.fixture
def heard():
    """The signals that the server's handlers received."""
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, _: heard.append(number))
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_without_a_lead_both_go_on_at_once(heard):
    left = []
    with graceful_shutdown(lambda: left.append(True), 0.0):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert heard == [signal.SIGTERM, signal.SIGINT]
        assert left == [True, True]


async def test_sigterm_waits_for_the_lead_and_sigint_does_not(heard):
    left, came = [], asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: came.set())
    with graceful_shutdown(lambda: left.append(True), 0.05):
        os.kill(os.getpid(), signal.SIGTERM)
        assert (came.is_set(), left) == (False, [True])
        os.kill(os.getpid(), signal.SIGINT)
        assert heard == [signal.SIGINT]
        await asyncio.wait_for(came.wait(), 10)


async def test_afterwards_the_handlers_are_the_servers_again(heard):
    before = signal.getsignal(signal.SIGTERM)
    with graceful_shutdown(list, 60.0):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_handled():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    async def serve():
        with graceful_shutdown(list, 60.0):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    thread.join()
    assert found == [before]


async def test_a_process_that_nobody_handles_ends_as_ever():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with graceful_shutdown(list, 60.0):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_without_a_parent_of_its_kind_follows_nobody():
    before = threading.active_count()
    end_with_parent()
    assert threading.active_count() == before


#: A parent that is killed as soon as its child follows it; the child says when it is told to end.
KILLED = """
import multiprocessing, os, signal, threading
from proxy.server.shutdown import end_with_parent

def child():
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    end_with_parent()
    os.kill(os.getppid(), signal.SIGKILL)
    print(ended.wait(10), flush=True)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    signal.pause()
"""


def test_a_child_is_told_to_end_when_its_parent_is_killed(tmp_path):
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    run = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.returncode, run.stdout) == (-signal.SIGKILL, "True\n"), run.stderr
