"""The way of one chat completion through the application: ``python -m tests.request_path``.

One plain request (enforced by a raw score, without logprobs for the client, without samples) goes through the ASGI
application and, over a real connection, to an upstream. The script prints every move from one module of the project to
another, with the functions that were called there, and counts the calls, the modules and the moves. A call is counted
when it begins; code that is generated (a dataclass's ``__init__``) and comprehensions are not. One request comes
before the one that is counted, so that what happens once for a process or a connection is left out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from proxy.app import build
from proxy.app.application import App
from proxy.config import parse
from tests.proxy.asgi_client import ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = tuple(str(ROOT / name) for name in ("calibrators", "gating", "proxy"))
REQUEST: Final = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "temperature": 0}
TOKEN: Final = {"token": "Paris", "logprob": -0.01, "bytes": None, "top_logprobs": []}
ANSWER: Final = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"},
                 "logprobs": {"content": [TOKEN]}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """The calls of one request as (module, function), in the order in which they began."""

    calls: tuple[tuple[str, str], ...]

    @property
    def modules(self) -> int:
        """The number of modules that the request touches."""
        return len({module for module, _ in self.calls})

    @property
    def moves(self) -> int:
        """The number of calls that leave the module of the call before."""
        return sum(one[0] != other[0] for one, other in pairwise(self.calls))

    def __str__(self) -> str:
        steps = [
            f"{module}: {', '.join(name for _, name in calls)}"
            for module, calls in groupby(self.calls, key=lambda call: call[0])
        ]
        counts = f"{len(self.calls)} calls in {self.modules} modules, with {self.moves} moves between modules"
        return "\n".join([*steps, "", counts])


class Tracer:
    """Collects the calls of the project's functions in this thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take one event of the profiler; ``RESUME 0`` is the start of a function, other values its resumption."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGES) or code.co_name.startswith("<"):
            return
        if code.co_code[frame.f_lasti + 1] == 0:
            self.calls.append((frame.f_globals["__name__"], code.co_qualname))


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """Run an upstream that keeps connections open and gives every request the same answer; yields its base URL."""
    body = json.dumps(ANSWER).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                length = next(line for line in lines if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                writer.write(head + body)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def measure() -> Way:
    """Return the way of one request, after another one has warmed the application up."""
    async with upstream() as base_url:
        config = {
            "upstreams": {"u": {"base_url": base_url}},
            "routes": [
                {"name": "r", "models": ["*"], "upstream": "u", "mode": "enforce",
                 "scorers": ["mean_logprob"], "score_threshold": -1.0}
            ],
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            parts = build(parse(yaml.safe_dump(config), "path.yaml"), folder=Path(folder), environ={})
        app, tracer = App(parts), Tracer()
        for number in range(3):
            sys.setprofile(tracer if number == 2 else None)
            try:
                reply = await ask(app, "/v1/chat/completions", REQUEST)
            finally:
                sys.setprofile(None)
            if reply.status != 200 or "Paris" not in reply.text:
                raise RuntimeError(f"the request was not answered: {reply.text}")
        await parts.aclose()
        await asyncio.sleep(0)  # the upstream sees the end of its connection
    return Way(tuple(tracer.calls))


if __name__ == "__main__":
    print(asyncio.run(measure()))
