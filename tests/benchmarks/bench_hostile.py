"""How long hostile requests keep the event loop: ``python -m tests.benchmarks.bench_hostile`` writes HOSTILE.md.

The server is a process of its own, and a timer on its loop reads the process's processor time once a millisecond: what
lies between two readings is the longest that anything kept the loop, whatever else the machine does. The threads' time
counts too: what they do may hold the interpreter.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from proxy.app import App, build
from proxy.config import parse
from proxy.server import server_of
from tests.fakes import FakeUpstream, answer, says
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESULT: Final = Path(__file__).parents[1] / "HOSTILE.md"
TICK_S: Final = 0.001
READING: Final = "/reading"
MOST: Final = 20_000_000
PLAIN: Final[dict[str, Any]] = {"verify": False, "trust_env": False, "timeout": 60}


class Watched:
    """An application, and the most processor time, in seconds, that its process spent between two ticks of its loop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._last: float | None = None
        self._longest_s = 0.0
        self._ticked = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._last is None:
            self._last = time.process_time()
            self._tick()
        if scope.get("path") == READING:
            await self._tell(send)
        else:
            await self._app(scope, receive, send)

    async def _tell(self, send: Any) -> None:
        """The longest since the last reading, the step that just ended among them."""
        self._ticked.clear()
        await self._ticked.wait()
        said, self._longest_s = f"{self._longest_s}".encode(), 0.0
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": said})

    def _tick(self) -> None:
        now = time.process_time()
        self._longest_s = max(self._longest_s, now - (self._last or now))
        self._last = now
        self._ticked.set()
        asyncio.get_running_loop().call_later(TICK_S, self._tick)


def _serve(upstream: str, listener: socket.socket) -> None:
    """The server's process."""
    routes = [
        {"name": name, "models": [name], "upstream": each, "mode": "enforce", "scorers": ["mean_logprob"],
         "score_threshold": -0.5, "rag": {"context": r"(?s)<c>((?:(?:a+)+)+|.*?)</c>"}}
        for name, each in (("direct", "u"), ("translated", "chats"))
    ]  # fmt: skip
    fake = {"base_url": upstream, "max_retries": 0}
    tree = {"upstreams": {"u": fake, "chats": {**fake, "formats": ["chat"]}}, "routes": routes}
    config = parse(json.dumps(tree), "bench")
    with tempfile.TemporaryDirectory() as folder:
        app = Watched(App(build(config, folder=Path(folder), environ={})))
        server_of(app, config.server).run(sockets=[listener])


@contextmanager
def watched(upstream: FakeUpstream) -> Iterator[str]:
    """The proxy's address; its path READING tells the longest since it was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = get_context("spawn").Process(target=_serve, args=(upstream.base_url, listener))
        process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        _longest_s(url)  # connections wait in the listener's queue until it serves
        yield url
    finally:
        process.terminate()
        process.join(60)


def _longest_s(url: str) -> float:
    return float(httpx.get(url + READING, **PLAIN).text)


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of body: its prompt, and further fields as JSON text; sent so often at once."""

    prompt: Callable[[], str] = lambda: "?"
    fields: Callable[[], str] = lambda: ""
    at_once: int = 1
    #: Whether it is written without escapes.
    utf8: bool = False


def _repeated(name: str, item: str) -> str:
    count = (MOST - 1_000) // (len(item) + 1)
    return f'"{name}":[' + ",".join([item] * count) + "]"


ATTACKS: Final[dict[str, Attack]] = {
    "a text of 20 MB": Attack(lambda: "x" * (MOST - 1_000)),
    "a text of escapes": Attack(lambda: "\n" * (MOST // 2 - 1_000)),
    "as many escapes as may be": Attack(lambda: "\n" * 3_150_000 + "x" * (MOST - 6_301_000)),
    "as many escapes as may be, eight at once": Attack(
        lambda: "\n" * 3_150_000 + "x" * (MOST - 6_301_000), at_once=8
    ),
    "a text beyond ASCII": Attack(lambda: "д" * (MOST // 6 - 1_000)),
    "a text in UTF-8": Attack(lambda: "д" * (MOST // 2 - 1_000), utf8=True),
    "a text for the context's pattern": Attack(lambda: "<c>" + "a" * (MOST - 1_000)),
    "a passage of 20 MB": Attack(lambda: "<c>" + "b" * (MOST - 1_000) + "</c>?"),
    "two million passages": Attack(lambda: "<c>b</c>" * (MOST // 8 - 1_000)),
    "instructions of 20 MB": Attack(fields=lambda: '"instructions":"' + "i" * (MOST - 1_000) + '"'),
    "a million keys": Attack(fields=lambda: ",".join(f'"{number}":1' for number in range(MOST // 12))),
    "30,000 keys": Attack(fields=lambda: ",".join(f'"{number}":1' for number in range(30_000))),
    "numbers": Attack(fields=lambda: _repeated("x", "1")),
    "250,000 numbers": Attack(fields=lambda: '"x":[' + "1," * 250_000 + "1]"),
    "objects": Attack(fields=lambda: _repeated("x", "{}")),
    "tools": Attack(fields=lambda: _repeated("tools", '{"type":"function","function":{"name":"f"}}')),
    "4,000 tools": Attack(
        fields=lambda: '"tools":[' + ",".join(['{"type":"function","name":"f"}'] * 4_000) + "]"
    ),
    "lists in lists": Attack(fields=lambda: '"x":' + "[" * 5_000_000 + "]" * 5_000_000),
    "lists in lists, nearly too deep": Attack(fields=lambda: '"x":' + "[" * 900 + "]" * 900),
    "a model of 20 MB": Attack(fields=lambda: '"model":"' + "m" * (MOST - 1_000) + '"'),
}


def body_of(surface: str, model: str, attack: Attack, upstream: FakeUpstream) -> bytes:
    """A request, whose prompt the fake upstream knows."""
    prompt = attack.prompt()
    upstream.script(answer(says("Par", "is")), prompt=prompt)
    whole = json.dumps({"model": model, **DOORS[surface].asks(prompt)}, ensure_ascii=not attack.utf8)
    fields = attack.fields()
    return (f"{whole[:-1]},{fields}}}" if fields else whole).encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one attack did."""

    surface: str
    model: str
    name: str
    sent: int
    status: str
    longest_s: float


def _status(url: str, body: bytes) -> str:
    try:
        return str(httpx.post(url, content=body, **PLAIN).status_code)
    except httpx.TransportError:
        return "closed"


def run(surfaces: tuple[str, ...] = tuple(DOORS), names: tuple[str, ...] = tuple(ATTACKS)) -> Iterator[Seen]:
    """Every attack on every surface, direct and translated."""
    with FakeUpstream() as upstream, watched(upstream) as url:
        for surface in surfaces:
            for model in ("direct", "translated") if surface not in ("chat", "completions") else ("direct",):
                for name in names:
                    attack = ATTACKS[name]
                    body = body_of(surface, model, attack, upstream)
                    _longest_s(url)
                    with ThreadPoolExecutor(attack.at_once) as clients:
                        sent = [
                            clients.submit(_status, url + DOORS[surface].path, body)
                            for _ in range(attack.at_once)
                        ]
                    status = ", ".join(sorted({each.result() for each in sent}))
                    yield Seen(surface, model, name, len(body), status, _longest_s(url))


def main() -> None:
    """Write the table."""
    lines = [
        "# How long hostile requests keep the event loop",
        "",
        "Written by `make bench-hostile`: the most processor time that the loop spent without looking up, by the",
        "request that it was sent; everything else waits that long. At the default bounds, on two shared cores.",
        "",
        "| surface | upstream | body | bytes | status | longest, ms |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for seen in run():
        row = f"| {seen.surface} | {seen.model} | {seen.name} | {seen.sent:,} | {seen.status} |"
        lines.append(f"{row} {1e3 * seen.longest_s:.0f} |")
        print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
