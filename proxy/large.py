"""Work on a large body, apart from the loop: what reads and writes it takes milliseconds for each megabyte.

A call into C holds the interpreter until it returns, in a thread as well; but between two of them the loop's thread
gets its turn. So what waits elsewhere waits for the longest single call, not for a request's whole reading,
translating and writing. There is one such thread: of several, the loop's would have to wait for each in turn. And it is
given its next piece of work by the loop, which has had a turn of its own in between: while the thread works the loop
waits anew at every read and write of a socket.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from proxy.asgi import Push, Wait

Given = ParamSpec("Given")
Found = TypeVar("Found")

#: Bytes of a body from which on it is worth a thread's two hand-overs, some 100 µs: it takes a millisecond to read.
LARGE = 1_000_000
#: The same of an upstream's answer, which is hardly text where it has logprobs: 500 bytes for each token with five
#: alternatives.
LARGE_ANSWER = 250_000
#: From so many bytes on an answer may be dense instead: of so many objects, ten times what it has with logprobs.
_MAY_BE_DENSE, _DENSE = 65_536, 8_000


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


def _step(steps: Generator[None, None, Found]) -> tuple[Found] | None:
    """Take one more; what they return, in a tuple, after the last."""
    try:
        next(steps)
    except StopIteration as end:
        return (end.value,)
    return None


def at_once(steps: Generator[None, None, Found]) -> Found:
    """What ``steps`` return, where the loop need not wait for them."""
    while not (ended := _step(steps)):
        pass
    return ended[0]


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
        there = partial(_without_looks, partial(copy_context().run, work, *args, **kwargs))
        async with self._next:
            return await asyncio.get_running_loop().run_in_executor(self._thread, there)

    async def in_steps(self, steps: Generator[None, None, Found]) -> Found:
        """What ``steps`` return, each of which is a turn of its own."""
        while not (ended := await self.run(True, _step, steps)):
            pass
        return ended[0]

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)
