"""``api.openai.com`` on loopback, for commands that name it: a resolver hook, a certificate, and a TLS server."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST: Final = "api.openai.com"
#: Python imports ``sitecustomize`` on start. uvloop resolves names in C, so asyncio's own loop takes its place.
RESOLVER: Final = """
import socket, sys

sys.modules["uvloop"] = None
_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, port, *args, **options):
    if host in ("{host}", b"{host}"):
        host, port = "127.0.0.1", {port}
    return _getaddrinfo(host, port, *args, **options)


socket.getaddrinfo = getaddrinfo
"""


@contextmanager
def vendor(address: tuple[str, int], folder: Path) -> Iterator[dict[str, str]]:
    """Serve TLS for the host in front of a plain server; yield the environment in which commands reach it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server: asyncio.Server | None = None
    try:
        server = asyncio.run_coroutine_threadsafe(_listen(address, context), loop).result()
        port = server.sockets[0].getsockname()[1]
        (folder / "sitecustomize.py").write_text(RESOLVER.format(host=HOST, port=port))
        yield {"PYTHONPATH": str(folder), "SSL_CERT_FILE": str(folder / "ca.pem")}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_close(server))
        loop.close()


async def _listen(address: tuple[str, int], context: ssl.SSLContext) -> asyncio.Server:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*address)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    return await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _close(server: asyncio.Server | None) -> None:
    if server is not None:
        server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
