"""Work on a large body, apart from the loop: what reads and writes it takes milliseconds for each megabyte.

A call into C holds the interpreter until it returns, in a thread as well; but between two of them the loop's thread
gets its turn. So what waits elsewhere waits for the longest single call, not for a request's whole reading,
translating and writing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Found = TypeVar("Found")

#: Bytes of a body from which on it is worth a thread's two hand-overs, some 100 µs: it takes a millisecond to read.
LARGE = 1_000_000


async def apart(
    large: bool, work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
) -> Found:
    """``work``, in a thread where it is ``large``."""
    if large:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
