"""A server whose loop is watched: the longest time that anything kept it.

The server is a separate process, and a timer on its loop reads the clock and the process's processor time once a
millisecond. What kept the loop between two readings is at most the time that passed, which others on the machine
lengthen, and at most the processor time that the process spent, to which its threads may have added while the loop went
on: the lesser of both is taken. A processor that others share lengthens both; so does, where several bodies come at
once, the order in which threads get their turns. What looks long is tried again: the least and the most are both told,
and how much of the most the process was in the kernel, which hands memory out a page at a time at its first touch:
20 MB have five thousand, and while one call into C fills them no other request is processed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import tempfile
import time
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from proxy.app import App, build
from proxy.config import parse
from proxy.server.protocol import server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_S: Final = 0.001
#: What is tried again, and how often in all.
LONG_S: Final = 0.025
TRIES: Final = 3
READING: Final = "/reading"
PLAIN: Final[dict[str, Any]] = {"verify": False, "trust_env": False, "timeout": 60}


class Longest(NamedTuple):
    """The longest time between two ticks, and what of it the process was in the kernel; in seconds."""

    whole_s: float
    kernel_s: float


NOTHING: Final = Longest(0.0, 0.0)


class Watched:
    """An application, and how long its loop was kept at the most between two of its ticks."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._last: _Clocks | None = None
        self._longest = NOTHING
        self._ticked = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._last is None:
            self._last = _clocks()
            self._tick()
        if scope.get("path") == READING:
            await self._tell(send)
        else:
            await self._app(scope, receive, send)

    async def _tell(self, send: Any) -> None:
        """Respond with the longest block since the last reading, including the step that just ended."""
        self._ticked.clear()
        await self._ticked.wait()
        said, self._longest = json.dumps(self._longest).encode(), NOTHING
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": said})

    def _tick(self) -> None:
        now = _clocks()
        before = self._last or now
        whole_s = min(now.wall_s - before.wall_s, now.process_s - before.process_s)
        self._longest = max(self._longest, Longest(whole_s, min(whole_s, now.kernel_s - before.kernel_s)))
        self._last = now
        self._ticked.set()
        asyncio.get_running_loop().call_later(TICK_S, self._tick)


class _Clocks(NamedTuple):
    """Now, in seconds; the processor time of the whole process, and what of that it was in the kernel."""

    wall_s: float
    process_s: float
    kernel_s: float


def _clocks() -> _Clocks:
    kernel_s = resource.getrusage(resource.RUSAGE_SELF).ru_stime
    return _Clocks(time.perf_counter(), time.process_time(), kernel_s)


def _serve(upstream: str, listener: socket.socket) -> None:
    """Run the server's process."""
    routes = [
        {"name": name, "models": [name], "upstream": each, "mode": "enforce", "scorers": ["mean_logprob"],
         "score_threshold": -0.5, "rag": {"context": r"(?s)<c>((?:(?:a+)+)+|.*?)</c>"}}
        for name, each in (("direct", "u"), ("translated", "chats"))
    ]  # fmt: skip
    fake = {"base_url": upstream, "max_retries": 0}
    every = {**fake, "formats": ["chat", "completions", "responses", "messages"]}
    tree = {"upstreams": {"u": every, "chats": {**fake, "formats": ["chat"]}}, "routes": routes}
    config = parse(json.dumps(tree), "bench")
    with tempfile.TemporaryDirectory() as folder:
        app = Watched(App(build(config, folder=Path(folder), environ={})))
        server_of(app, config.server).run(sockets=[listener])


@contextmanager
def watched(base_url: str) -> Iterator[str]:
    """Yield the address of a proxy for this upstream; READING returns the longest block since the last call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = get_context("spawn").Process(target=_serve, args=(base_url, listener))
        process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        longest(url)  # connections wait in the listener's queue until it serves
        yield url
    finally:
        process.terminate()
        process.join(60)


def longest(url: str) -> Longest:
    """Return the longest time for which the loop was blocked since the last call."""
    return Longest(*httpx.get(url + READING, **PLAIN).json())


class Kept(NamedTuple):
    """How long one thing kept the loop: at the most in the best of its tries, and in the worst."""

    least: Longest
    most: Longest

    @property
    def cells(self) -> str:
        """Format for a table, in milliseconds, with the kernel's share where it is large."""
        least, most, kernel = (f"{1e3 * each:.0f}" for each in (self.least.whole_s, *self.most))
        return f"{least if least == most else f'{least}-{most}'} | {kernel if self.most.whole_s > LONG_S else ''}"


def tried(url: str, send: Callable[[], str]) -> tuple[str, Kept]:
    """Return the result of ``send`` and how long it blocked the loop; repeat TRIES times where that exceeds LONG_S."""
    found: list[Longest] = []
    while not found or (max(found).whole_s > LONG_S and len(found) < TRIES):
        longest(url)
        told = send()
        found.append(longest(url))
    return told, Kept(min(found), max(found))


def status(url: str, body: bytes) -> str:
    """Send a request and return the status or the error."""
    try:
        return str(httpx.post(url, content=body, **PLAIN).status_code)
    except httpx.TransportError:
        return "closed"
