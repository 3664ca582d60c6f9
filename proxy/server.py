"""The HTTP server: uvicorn, with the settings that a proxy wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.logs import log_config

if TYPE_CHECKING:
    import asyncio

    from proxy.config import Server

#: Over it, what was written goes out before the loop's turn ends.
_MOST_GATHERED = 65_536


class OneWrite(HttpToolsProtocol):
    """Uvicorn's protocol, whose head and body go out in one system call.

    Uvicorn writes them apart and uvloop sends each at once: that costs more than all else of a short answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self.transport = _Gathering(transport, self.loop)  # type: ignore[assignment] # all that uvicorn uses

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.transport.begin()  # type: ignore[attr-defined] # a _Gathering


class _Gathering:
    """A transport that holds the beginning of a response until the loop's turn ends, and nothing after it."""

    __slots__ = ("_beginning", "_loop", "_pieces", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._beginning = True
        self._pieces: list[bytes] = []
        self._size = 0

    def begin(self) -> None:
        """The next response begins."""
        self._beginning = True

    def write(self, data: bytes) -> None:
        if not (self._beginning or self._pieces):
            self._transport.write(data)
            return
        if not self._pieces:
            self._beginning = False
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST_GATHERED:
            self._flush()

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces, self._size = self._pieces, [], 0
            if not self._transport.is_closing():
                self._transport.write(b"".join(pieces))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def config_of(app: object, settings: Server, **more: Any) -> uvicorn.Config:
    """Uvicorn's configuration for an application, or with ``factory=True`` for what makes one."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type] # an ASGI application
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=log_config(settings.log),
        access_log=False,  # the metrics count; a line for each request costs as much as the request
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.drain_s),
        http=OneWrite,
        ws="none",
        **more,
    )


def server_of(app: object, settings: Server) -> uvicorn.Server:
    """One server in this process."""
    return uvicorn.Server(config_of(app, settings))
