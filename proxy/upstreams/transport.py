"""The interface of an HTTP transport to one upstream, implemented by ``proxy.upstreams.http1``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.server.asgi import Push

#: Headers that a transport sets itself, in lower case; callers must remove them from forwarded headers.
OWN_HEADERS: Final = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding", b"expect"})

#: Request bodies over this size are written in slices, each with its own write timeout.
SLICE_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds; ``read_s`` limits the wait for the head and each wait for more of the body."""

    connect_s: float = 5.0
    write_s: float = 30.0
    read_s: float = 60.0


class Response(Protocol):
    """A response whose head is complete; its body is read once, by ``read``, ``chunks`` or ``pour``.

    A gzip or deflate body is decompressed, and ``content-encoding`` and ``content-length`` are removed from the
    headers, so headers and body can be passed on together.
    """

    @property
    def status(self) -> int:
        """The final status; interim responses (1xx) are skipped."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers in the order received, with names in lower case; without trailers."""
        ...

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raises UpstreamTooLarge beyond ``limit`` bytes, or another UpstreamError."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, without framing; raises UpstreamCut, UpstreamGarbage or UpstreamTimeout."""
        ...

    async def pour(self, sink: Push) -> None:
        """Call ``sink`` with each piece that ``chunks`` would yield; raises the errors of ``chunks`` and ``sink``.

        Where the transport can, ``sink`` is called as the bytes arrive, without waking a task for each piece.
        """
        ...

    def close(self) -> None:
        """Return the connection to the pool after a complete body, else close it, which cancels the request.

        Every response must be closed; closing it twice is allowed.
        """
        ...


class Transport(Protocol):
    """Pooled keep-alive connections to one base URL, without redirects, cookies or proxies from the environment.

    Calls raise only subclasses of UpstreamError, and BadRequest for a request that cannot be sent (a line break in a
    header, a path that leaves the base URL). A cancelled call closes its connection.
    """

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Response:
        """Send a request and wait for the head of its response.

        ``path`` is percent-encoded, includes the query, begins with a slash and is appended to the base URL's path.
        ``headers`` must not contain ``OWN_HEADERS``. Where the upstream has closed a pooled connection before any
        byte of the response, a request whose body is ``bytes`` is sent once more on another connection.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


async def pour(chunks: AsyncIterator[bytes], sink: Push) -> None:
    """Implement ``Response.pour`` for a response that offers ``chunks``."""
    async for piece in chunks:
        wait = sink(piece)
        if wait is not None:
            await wait()


async def slices(body: bytes) -> AsyncIterator[bytes]:
    """Yield ``body`` in slices of ``SLICE_BYTES``."""
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]
