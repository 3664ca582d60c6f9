"""Graceful shutdown: first not ready, then closed to new connections, then ended when all requests are done."""

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
def graceful_shutdown(on_signal: Callable[[], None], lead_s: float) -> Iterator[None]:
    """Call ``on_signal`` before the server's own handler of SIGTERM and SIGINT, while the context is active.

    After SIGTERM, which an orchestrator sends, the server's handler runs ``lead_s`` seconds later: the server accepts
    connections until the load balancer has seen that it is not ready. SIGINT, which a person sends, does not wait.
    """
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(go_on: Callable[..., Any], number: int, _: object) -> None:
        on_signal()
        if number == signal.SIGTERM and lead_s > 0:
            loop.call_soon_threadsafe(loop.call_later, lead_s, go_on, number, None)
        else:
            go_on(number, None)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in handlers.items():
        if callable(handler):  # otherwise no server handles the signal
            signal.signal(number, partial(handle, handler))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Shut this worker down gracefully when its parent process is gone, however the parent ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True, name="parent").start()


def _follow(parent: Any) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
