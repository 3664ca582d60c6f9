"""The worker thread that reads and writes large bodies, so that the event loop keeps serving other requests.

Reading or writing a body takes milliseconds for each megabyte, and a call into C holds the interpreter lock until it
returns, in a thread as well. Other requests should wait for the longest single call at most, not for all the reading,
translating and writing that one request needs. There is one such thread: with several, the event loop would wait for
each of them in turn. While the thread works, the loop also waits for the lock at every read and write of a socket. The
thread therefore sleeps for one round of the loop between two pieces of work, and wherever a piece of work calls
``pause``.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: The size in bytes from which a body takes a millisecond to read: that is worth two hand-overs to the thread, some
#: 100 µs.
LARGE: Final = 1_000_000
#: How many seconds of work other requests hardly notice, and how long a pause takes: the shortest timer, so that the
#: loop has run once when it ends.
SHORT_S, REST_S = 0.003, 0.001
#: The longest pause, in seconds: a loop that has stopped never ends a pause itself.
_LONGEST_REST_S: Final = 1.0
#: The most memory that is prepared, and its largest block. glibc returns a block over 32 MB to the kernel at once, and
#: so the free end of the heap where it is twice the largest block so far (mallopt(3), M_MMAP_THRESHOLD).
_MOST_MEMORY, _BLOCK = 48_000_000, 31_000_000


class _Pace:
    """Measures how long a piece of work has run since the event loop last had a turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = perf_counter()

    @property
    def long(self) -> bool:
        """Whether the work has run for long enough that the loop should have a turn."""
        return perf_counter() - self._began > SHORT_S

    def pause(self) -> None:
        """Block the worker thread until the loop has run once, if the work has run for long."""
        if self.long:
            rested = Event()
            self._loop.call_soon_threadsafe(self._loop.call_later, REST_S, rested.set)
            rested.wait(_LONGEST_REST_S)
            self._began = perf_counter()


#: The pace of the work that runs in this context; None outside of the worker thread.
PACE: Final[ContextVar[_Pace | None]] = ContextVar("pace", default=None)


def pause() -> None:
    """Let the event loop run once, if this is long work in the worker thread."""
    pace = PACE.get()
    if pace is not None:
        pace.pause()


def prefault(size: int) -> None:
    """Map ``size`` bytes of memory in advance, if this is work in the worker thread.

    The kernel maps memory page by page, at the first access. 20 MB have five thousand pages: 2 ms, or 50 on a virtual
    machine, inside one call that holds the interpreter lock. numpy touches the pages without the lock, and the
    allocator then has them ready.
    """
    if size > LARGE and PACE.get() is not None:
        size = min(size, _MOST_MEMORY)
        blocks = [np.empty(min(_BLOCK, size - start), np.uint8) for start in range(0, size, _BLOCK)]
        for block in blocks:
            block.fill(0)


def _without_garbage_collection(work: Callable[[], Result]) -> Result:
    """Run ``work`` with the garbage collector off: its passes are long where objects come by the hundred thousand."""
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()


class BodyThread:
    """One worker thread for large bodies. It runs one piece of work at a time and starts with the first one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "bodies")
        self._next = asyncio.Lock()

    async def run(
        self, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call ``work`` in the thread and return its result."""
        context = copy_context()
        there = partial(_without_garbage_collection, partial(context.run, work, *args, **kwargs))
        loop = asyncio.get_running_loop()
        async with self._next:
            pace = _Pace(loop)
            context.run(PACE.set, pace)
            try:
                return await loop.run_in_executor(self._thread, there)
            finally:
                if pace.long:
                    await asyncio.sleep(REST_S)

    def close(self) -> None:
        """Stop the thread once its present work is done."""
        self._thread.shutdown(wait=False)
