"""Leaving in order: not ready first, deaf to new connections a while later, gone when what is under way is done."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def leaving(on_leave: Callable[[], None], lead_s: float) -> Iterator[None]:
    """While inside, a signal to end first calls ``on_leave``, then goes on to the server that installed its handler.

    After SIGTERM, which a load balancer's host sends, the server hears of it ``lead_s`` seconds later: it listens
    on until the balancer has seen that it is not ready. SIGINT, which a person sends, does not wait.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(go_on: Callable[..., Any], number: int, _: object) -> None:
        on_leave()
        if number == signal.SIGTERM and lead_s > 0:
            loop.call_soon_threadsafe(loop.call_later, lead_s, go_on, number, None)
        else:
            go_on(number, None)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in handlers.items():
        if callable(handler):  # else nobody ends in order
            signal.signal(number, partial(handle, handler))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """A worker whose parent is gone, however it ended, ends in order too: nobody else would ever end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True, name="parent").start()


def _follow(parent: Any) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
