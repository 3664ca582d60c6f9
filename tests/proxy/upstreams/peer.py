"""A scripted TCP server: a test says byte by byte what an upstream does on each of its connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted connection; ``number`` counts from 0."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Read one request: its head, and its body with the framing taken off."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = [line.lower() for line in head.split(b"\r\n")]
        if b"transfer-encoding: chunked" in lines:
            body = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            assert await self._reader.readexactly(2) == b"\r\n"
            return head, body
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        return head, await self._reader.readexactly(length)

    async def head(self) -> bytes:
        """Read a head and leave the body where it is."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def send(self, *pieces: bytes) -> None:
        """Send ``pieces``, each on its own."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> bytes:
        """Wait until the client has closed, and return what it sent before."""
        rest = b""
        try:
            while piece := await self._reader.read(65_536):
                rest += piece
        except ConnectionError:
            pass
        return rest

    def end(self) -> None:
        """End this side only: the client may still send."""
        self._writer.write_eof()

    def close(self) -> None:
        """End the connection in order."""
        self._writer.close()

    def reset(self) -> None:
        """End it with a TCP reset."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Server:
    """What the scripts did; ``failure`` is the first assertion that failed in one."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.failure: BaseException | None = None
        self.port = 0

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run the script on a new connection."""
        peer = Peer(self.connections, reader, writer)
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._run(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        except Exception as error:  # noqa: BLE001 - told to the test at its end
            self.failure = self.failure or error
        finally:
            peer.close()

    async def settle(self) -> None:
        """Wait for the scripts that run."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Cancel the scripts that still run."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Listen on a free port of 127.0.0.1 and run ``script`` on every connection."""
    server = Server(script)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.stop()
        if server.failure is not None:
            raise server.failure


def answering(*answers: bytes) -> Script:
    """Return a script that sends ``answers`` in turn, on any connection, and keeps connections open."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(left.pop(0))

    return script
