"""A small TCP proxy that spoils what passes through it: slow, thin, cut, reset, half closed, or swallowed."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from dataclasses import dataclass
from random import Random
from typing import Self

_PIECE = 4_096
_UP_S = 10.0


@dataclass(frozen=True, slots=True)
class Toxic:
    """What happens to each connection; bytes are counted in the direction of the answer.

    ``latency_s`` and ``jitter_s`` (uniform) delay every piece; ``bytes_per_s`` bounds the speed; after
    ``after`` bytes the connection is ended as ``then`` says.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    after: int | None = None
    #: reset (RST), cut (FIN both ways), half (FIN of the answer alone), hole (nothing more, nothing closed).
    then: str = "cut"


NONE = Toxic()


class FaultyNetwork:
    """A TCP proxy in front of ``target``, which runs in a thread and is a context manager.

    ``toxic`` may be changed while it runs, for connections to come.
    """

    def __init__(self, target: int, toxic: Toxic = NONE, seed: int = 0) -> None:
        self._target = target
        self.toxic = toxic
        self._random = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._down = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(_UP_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(_UP_S)
        self._loop.close()

    async def _serve(self) -> None:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        self._up.set()
        await self._down.wait()
        listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer, self.toxic))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxic: Toxic) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        asked = asyncio.ensure_future(_pump(reader, upstream_writer))
        try:
            await self._answer(upstream_reader, writer, toxic)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            upstream_writer.transport.abort()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxic: Toxic) -> None:
        left = toxic.after
        if left == 0:
            await self._end(writer, toxic.then)
            return
        while piece := await reader.read(_PIECE if left is None else min(left, _PIECE)):
            delay = toxic.latency_s + self._random.uniform(0.0, toxic.jitter_s)
            if toxic.bytes_per_s is not None:
                delay += len(piece) / toxic.bytes_per_s
            if delay:
                await asyncio.sleep(delay)
            writer.write(piece)
            await writer.drain()
            if left is not None:
                left -= len(piece)
                if left == 0:
                    await self._end(writer, toxic.then)
                    return

    async def _end(self, writer: asyncio.StreamWriter, then: str) -> None:
        if then == "hole":
            await self._down.wait()
        elif then == "reset":
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif then == "half":
            writer.write_eof()
            await self._down.wait()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
