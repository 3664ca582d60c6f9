"""Work on large bodies runs in one worker thread and leaves the event loop free."""

from __future__ import annotations

import asyncio
import gc
import platform
import resource
import threading
from time import perf_counter

import pytest

from proxy.exceptions import BadRequest
from proxy.server.body_thread import REST_S, SHORT_S, BodyThread, pause, prefault


async def test_work_runs_in_another_thread():
    assert await BodyThread().run(threading.get_ident) != threading.get_ident()


async def test_an_exception_comes_back():
    def refuse(word: str) -> None:
        raise BadRequest(word)

    with pytest.raises(BadRequest, match="too odd"):
        await BodyThread().run(refuse, "too odd")


async def test_one_after_the_other():
    """With several threads at once, the thread of the loop would have to wait for each."""
    thread, under_way, seen = BodyThread(), threading.Lock(), []

    def work(number: int) -> int:
        assert under_way.acquire(blocking=False)
        seen.append(number)
        under_way.release()
        return threading.get_ident()

    threads = await asyncio.gather(*(thread.run(work, number) for number in range(20)))
    assert (seen, len(set(threads))) == (list(range(20)), 1)


async def test_the_loop_has_its_turn_between_two_of_them():
    """Between two calls, the loop waits for one piece of work, not for every queued one."""
    thread, seen = BodyThread(), []

    async def one(number: int) -> None:
        await thread.run(seen.append, f"work {number}")
        seen.append(f"loop {number}")

    await asyncio.gather(*(one(number) for number in range(20)))
    assert seen == [f"{who} {number}" for number in range(20) for who in ("work", "loop")]


async def test_long_work_pauses_for_a_round_of_the_loop():
    """Every pending callback of the loop runs before the work continues."""
    thread, seen, loop = BodyThread(), [], asyncio.get_running_loop()

    def work(name: str) -> str:
        for number in range(3):
            for callback in range(4):
                loop.call_soon_threadsafe(seen.append, f"loop {number} {callback}")
            until = perf_counter() + 2 * SHORT_S
            while perf_counter() < until:
                pass
            pause()
            seen.append(f"{name} {number}")
        if name == "odd":
            raise BadRequest("too odd")
        return name.upper()

    assert await thread.run(work, "a") == "A"
    for number in range(3):
        at = seen.index(f"a {number}")
        assert {f"loop {number} {callback}" for callback in range(4)} <= set(seen[:at])
    with pytest.raises(BadRequest, match="too odd"):
        await thread.run(work, "odd")


async def test_short_work_and_work_on_the_loop_itself_pause_for_nothing():
    thread, seen, loop = BodyThread(), [], asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(seen.append, "loop")
        pause()
        seen.append("work")

    work()
    assert seen == ["work"]
    await asyncio.sleep(0)
    assert seen == ["work", "loop"]
    began = perf_counter()
    await thread.run(pause)
    assert perf_counter() - began < 1.0


async def test_the_loop_goes_round_between_two_pieces_of_long_work():
    thread, seen, loop = BodyThread(), [], asyncio.get_running_loop()

    def work(number: int) -> None:
        until = perf_counter() + 2 * SHORT_S
        while perf_counter() < until:
            pass
        seen.append(number)

    def tick() -> None:
        seen.append("tick")
        loop.call_later(REST_S / 2, tick)

    tick()
    await asyncio.gather(*(thread.run(work, number) for number in range(4)))
    for number in range(3):
        assert "tick" in seen[seen.index(number) : seen.index(number + 1)]


def test_a_loop_that_has_stopped_is_not_waited_for():
    """A client that left in the middle: the process must end all the same."""
    loop = asyncio.new_event_loop()
    thread, at_it, go = BodyThread(), threading.Event(), threading.Event()

    def work() -> None:
        at_it.set()
        go.wait(60)
        pause()

    task = loop.create_task(thread.run(work))
    loop.run_until_complete(asyncio.sleep(0))
    assert at_it.wait(60)
    loop.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    thread.close()
    loop.close()
    go.set()
    thread._thread.shutdown(wait=True)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another allocator may give everything back at once"
)
async def test_memory_that_is_had_ready_is_not_touched_for_the_first_time():
    """New memory of 20 MB has 4,883 pages, each with a page fault that the loop would wait for."""
    size = 20_000_000

    def faults() -> int:
        prefault(size)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        bytearray(size)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    thread = BodyThread()
    await thread.run(faults)  # the allocator learns that blocks of such a size come back
    assert await thread.run(faults) < 500


async def test_nothing_is_had_ready_for_work_on_the_loop():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    prefault(20_000_000)
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < 500


async def test_the_garbage_collector_does_not_look_meanwhile():
    thread = BodyThread()
    assert not await thread.run(gc.isenabled)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert gc.isenabled()
