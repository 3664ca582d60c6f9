"""The server as ``idk serve`` runs it, with an application that the test plays, and one client's connection."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proxy.config import Server
from proxy.server.protocol import server_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serving(
    app: Any, *, idle_s: float = 60.0, **settings: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve HTTP with these ``settings`` of the configuration's server; ``idle_s`` ends a quiet connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = server_of(app, Server(port=0, **settings))
    server.config.lifespan = "off"
    server.config.timeout_keep_alive = idle_s  # type: ignore[assignment] # less than a second is enough for a test
    task = asyncio.ensure_future(server.serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await task
