"""Memory that does not grow: ``python -m tests.benchmarks.soak [--requests 200000]``.

Gated requests of every kind are mixed, whole and as streams: served, abstained, failed upstream, cut upstream,
and clients that leave. The worker's resident memory at the end is compared with that after the first tenth.
Then several held streams of 1 MB run at once in a fresh server, and its peak is compared with their size.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from tests.benchmarks import bodies, contenders, install, measure
from tests.benchmarks.run import start_upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

CONCURRENCY = 64
GROWTH_MB = 10.0  # what the resident memory may grow by after the first tenth
HELD, HELD_FACTOR = 8, 4.0  # held streams at once, and what each may cost over its size
REPLY_S = 60.0
LEAVE_S = 0.02  # a client that leaves does so within the 65 ms that a stream takes


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: the model that the client names, and the status that it must get.

    ``status`` None: the client leaves before the answer. ``weight`` is its share of the mixture.
    """

    model: str
    stream: bool
    status: int | None
    weight: int
    contains: bytes = b""


KINDS: Sequence[Kind] = (
    Kind("pass/bench-large", False, 200, 30, b"logprobs"),
    Kind("pass/bench-small", False, 200, 10, b"Paris"),
    Kind("fail/bench-large", False, 200, 15, b"I don't know."),
    Kind("pass/bench-large", True, 200, 15, b"[DONE]"),
    Kind("fail/bench-large", True, 200, 10, b"I don't know."),
    Kind("watch/bench-large", True, 200, 5, b"[DONE]"),
    Kind("pass/bench-error", False, 500, 5, b"error"),
    Kind("pass/bench-cut", True, 502, 2),
    Kind("pass/bench-large", True, None, 4),
    Kind("watch/bench-large", True, None, 4),
)
ROUTES = {
    "pass": ("enforce", contenders.PASSES),
    "fail": ("enforce", contenders.ABSTAINS),
    "watch": ("observe", contenders.PASSES),
}
UPSTREAM_MODELS = ("bench-large", "bench-small", "bench-error", "bench-cut", "bench-mega")


@dataclass(slots=True)
class Tally:
    """What came back that should not have, by kind, with the first example of each."""

    wrong: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: Kind, what: str) -> None:
        name = f"{kind.model}{' stream' if kind.stream else ''}"
        self.wrong[name] = self.wrong.get(name, 0) + 1
        self.examples.setdefault(name, what)


class Client:
    """One keep-alive connection, opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes, *, leave: float | None = None) -> tuple[int, bytes]:
        """Status and body; with ``leave``, closes the connection after so many seconds: (0, b"")."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        reader, writer = self._streams
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n"
        writer.write(head + b"authorization: Bearer none\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        if leave is not None:
            await asyncio.sleep(leave)
            self.close()
            return 0, b""
        try:
            return await asyncio.wait_for(self._read(reader), REPLY_S)
        except (OSError, EOFError, ValueError, TimeoutError):
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        status = int(head.split(b" ", 2)[1])
        if b"content-length" in fields:
            body = await reader.readexactly(int(fields[b"content-length"]))
        else:
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        if fields.get(b"connection") == b"close":
            self.close()
        return status, body


async def soak(port: int, requests: int, seed: int, tally: Tally) -> None:
    """Send ``requests`` requests of the mixture, CONCURRENCY at a time."""
    draw = random.Random(seed)
    kinds = draw.choices(KINDS, [k.weight for k in KINDS], k=requests)
    left = iter(kinds)

    async def worker() -> None:
        client = Client(port)
        for kind in left:  # one iterator, shared by the workers
            asks = draw.random() < 0.5
            leave = draw.uniform(0, LEAVE_S) if kind.status is None else None
            body = bodies.request(kind.model, stream=kind.stream, asks=asks)
            try:
                status, answer = await client.ask(body, leave=leave)
            except (OSError, EOFError, ValueError, TimeoutError) as exc:
                tally.add(kind, repr(exc))
                continue
            if kind.status is not None and (status != kind.status or (kind.contains not in answer and asks)):
                tally.add(kind, f"status {status}: {answer[:120].decode(errors='replace')}")
        client.close()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def hold(port: int, count: int) -> None:
    """Hold ``count`` streams of 1 MB at once; raises Broken unless all are complete."""
    clients = [Client(port) for _ in range(count)]
    body = bodies.request("pass/bench-mega", stream=True, asks=True)
    answers = await asyncio.gather(*(c.ask(body) for c in clients))
    for client in clients:
        client.close()
    for status, answer in answers:
        if status != 200 or len(answer) < bodies.MEGA_BYTES * 0.9 or b"[DONE]" not in answer:
            raise measure.Broken(f"a held stream of 1 MB came back with status {status}, {len(answer)} bytes")


def serve(directory: Path, upstream: int, core: str, stack: ExitStack) -> measure.Server:
    """idk with an enforcing route that passes all, one that passes none, and an observing one."""
    directory.mkdir()
    site = contenders.Site(directory, measure.free_port(), upstream)
    routes: list[dict[str, object]] = [
        {
            "name": f"{name}-{model}",
            "models": [f"{name}/{model}"],
            "upstream": "bench",
            "model": model,
            "mode": mode,
            "scorers": ["mean_logprob"],
            "score_threshold": threshold,
        }
        for name, (mode, threshold) in ROUTES.items()
        for model in UPSTREAM_MODELS
    ]
    launch = contenders.serve(site, routes)
    server = measure.Server(measure.pinned(core, *launch.command), {}, directory / "log", site.port)
    stack.callback(server.stop)
    server.wait_for_200({}, bodies.request("pass/bench-small", stream=False, asks=True))
    return server


def growth(server: measure.Server, requests: int, tally: Tally) -> tuple[float, float]:
    """Resident MB after the first tenth of the requests and at their end."""
    uvloop.run(soak(server.port, requests // 10, 0, tally))
    server.settle()
    early = server.rss_mb()
    for part in range(9):
        uvloop.run(soak(server.port, requests // 10, part + 1, tally))
        print(
            f"{(part + 2) * (requests // 10)} requests: {server.rss_mb():.1f} MB", file=sys.stderr, flush=True
        )
    server.settle()
    return early, server.rss_mb()


def held_factor(server: measure.Server) -> float:
    """By how many times its size each of several held streams raises the peak of the memory."""
    uvloop.run(soak(server.port, 500, 0, Tally()))  # what is loaded and pooled once is not a stream's cost
    before = server.rss_mb()
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak starts again from here
    uvloop.run(hold(server.port, HELD))
    peak = measure.memory_kb(server.pid, "VmHWM") * 1024 / 1e6
    return max(0.0, peak - before) * 1e6 / (HELD * bodies.MEGA_BYTES)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when memory kept both bounds and every answer was the expected one, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument(
        "--out", type=Path, default=install.CACHE / "soak.txt", help="the file that gets the result"
    )
    options = parser.parse_args(arguments)
    tally = Tally()
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idk-soak-")))
            server_core, load_core = measure.cores()
            upstream = start_upstream(directory, load_core, stack).port
            factor = held_factor(serve(directory / "held", upstream, server_core, stack))
            early, late = growth(
                serve(directory / "soak", upstream, server_core, stack), options.requests, tally
            )
    except (install.Missing, measure.Broken) as exc:
        print(f"the soak failed: {exc}", file=sys.stderr)
        return 1
    line = (
        f"{options.requests} requests: RSS {early:.1f} MB after a tenth, {late:.1f} MB at the end "
        f"(at most {GROWTH_MB:g} MB more); a held stream of 1 MB costs {factor:.1f}x its size at the peak "
        f"(at most {HELD_FACTOR:g}x); wrong answers: {tally.wrong or 'none'}"
    )
    for name, example in tally.examples.items():
        print(f"{name}: {example}", file=sys.stderr)
    print(line)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(line + "\n")
    return 0 if late - early <= GROWTH_MB and factor <= HELD_FACTOR and not tally.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
