"""Work on a large body, apart from the loop: what reads and writes it takes milliseconds for each megabyte.

A call into C holds the interpreter until it returns, in a thread as well; so what waits elsewhere is to wait for the
longest single call, not for a request's whole reading, translating and writing. There is one such thread: of several,
the loop's would have to wait for each in turn. And while it works the loop waits anew at every read and write of a
socket: so between two pieces of work, and wherever a piece says that it may ``pause``, the thread stands still until
the loop has been round once.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.server.asgi import Push, Wait

Given = ParamSpec("Given")
Found = TypeVar("Found")

#: Bytes of a body from which on it is worth a thread's two hand-overs, some 100 µs: it takes a millisecond to read.
LARGE = 1_000_000
#: The same of an upstream's answer, which is hardly text where it has logprobs: 500 bytes for each token with five
#: alternatives.
LARGE_ANSWER = 250_000
#: From so many bytes on an answer may be dense instead: of so many objects, ten times what it has with logprobs.
_MAY_BE_DENSE, _DENSE = 65_536, 8_000

#: Seconds of work that others hardly notice, and what a rest takes: a timer's least, so that it is another round.
SHORT_S, REST_S = 0.003, 0.001
#: A rest's most: what has stopped loops no more is not waited for.
_MOST_S = 1.0
#: Bytes of memory for each byte of JSON while it is decoded: four for a text with one character beyond U+FFFF, and a
#: copy, half as large again, of a text with escapes. And for each byte that is encoded: room is made by halves.
DECODING, ENCODING = 6, 2
#: The most that is had ready, and its largest block: glibc gives a block over 32 MB back to the kernel at once, and so
#: what is free at a heap's end where that is twice the largest block yet (mallopt(3), M_MMAP_THRESHOLD).
_MOST_READY, _BLOCK = 48_000_000, 31_000_000
#: Bytes of a stream that are read in one go: some 200 events, or ten milliseconds at the most.
PIECE = 32_768


def is_large(answer: bytes | bytearray) -> bool:
    """Whether an upstream's answer is to be read and written apart from the loop."""
    return len(answer) > LARGE_ANSWER or (len(answer) > _MAY_BE_DENSE and answer.count(b"{") > _DENSE)


def in_pieces(sink: Push) -> Push:
    """``sink`` for a stream of which much may come at once: by ``PIECE`` bytes, the others' turns in between."""

    async def in_turn(data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            wait = sink(data[start : start + PIECE])
            await (asyncio.sleep(0) if wait is None else wait())

    # Neither names itself, or the other back: what a stream holds is let go with it.
    def take(data: bytes) -> Wait | None:
        return sink(data) if len(data) <= PIECE else partial(in_turn, data)

    return take


def _without_looks(work: Callable[[], Found]) -> Found:
    """``work`` without the garbage collector, whose looks take as long where objects come by the hundred thousand."""
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()


def is_apart() -> bool:
    """Whether this is work on a large body, apart from the loop."""
    return _PACE.get() is not None


def pause() -> None:
    """Let the loop go round once, where this is work apart from it that has gone on for long enough."""
    pace = _PACE.get()
    if pace is not None:
        pace.pause()


def prefault(size: int) -> None:
    """Have ``size`` bytes of memory ready for what comes next, where this is work apart from the loop.

    The kernel hands memory out a page at a time, at its first touch. 20 MB have five thousand: 2 ms, or 50 on a virtual
    machine, of a call that holds the interpreter all the while. numpy touches them without it, and the allocator has
    them at hand afterwards.
    """
    if size > LARGE and is_apart():
        size = min(size, _MOST_READY)
        ready = [np.empty(min(_BLOCK, size - start), np.uint8) for start in range(0, size, _BLOCK)]
        for block in ready:
            block.fill(0)


class _Pace:
    """How long a piece of work has gone on since the loop last went round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = perf_counter()

    @property
    def long(self) -> bool:
        return perf_counter() - self._began > SHORT_S

    def pause(self) -> None:
        """In the thread."""
        if self.long:
            rested = Event()
            self._loop.call_soon_threadsafe(self._loop.call_later, REST_S, rested.set)
            rested.wait(_MOST_S)
            self._began = perf_counter()


_PACE: ContextVar[_Pace | None] = ContextVar("pace", default=None)


class Turns:
    """One thread, in which pieces of work take their turns; it begins with the first of them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "large")
        self._next = asyncio.Lock()

    async def run(
        self, large: bool, work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
    ) -> Found:
        """``work``, in the thread where it is ``large``."""
        if not large:
            return work(*args, **kwargs)
        context = copy_context()
        there = partial(_without_looks, partial(context.run, work, *args, **kwargs))
        loop = asyncio.get_running_loop()
        async with self._next:
            pace = _Pace(loop)
            context.run(_PACE.set, pace)
            try:
                return await loop.run_in_executor(self._thread, there)
            finally:
                if pace.long:
                    await asyncio.sleep(REST_S)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)
