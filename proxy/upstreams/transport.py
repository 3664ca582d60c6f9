"""What an HTTP transport to one upstream is; ``TRANSPORTS`` in ``transports.py`` has the implementations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.server.asgi import Push

#: Headers that a transport writes itself, in lower case; a caller takes them out of what it passes on.
OWN_HEADERS: Final = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding", b"expect"})

#: A request body over this is written in slices, each with its own write timeout.
SLICE_BYTES: Final = 65_536
#: How long an unused connection is kept: shorter than the servers in use do (nginx 75 s, envoy an hour), so
#: that a request seldom meets a connection that is being closed.
IDLE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase; ``read_s`` bounds the wait for the head and each wait for more body."""

    connect_s: float = 5.0
    write_s: float = 30.0
    read_s: float = 60.0


class Response(Protocol):
    """An upstream's answer whose head has come; its body is read once, by ``read``, ``chunks`` or ``pour``.

    A gzip or deflate body comes decoded, and then ``content-encoding`` and ``content-length`` are not among
    the headers: headers and body can be passed on as they are.
    """

    @property
    def status(self) -> int:
        """The final status (1xx are skipped)."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """In the order received, names in lower case; trailers are not among them."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body; raises UpstreamTooLarge over ``limit`` bytes, UpstreamCut, Garbage or Timeout."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, framing taken off; raises UpstreamCut, UpstreamGarbage or UpstreamTimeout."""
        ...

    async def pour(self, sink: Push) -> None:
        """Call ``sink`` with what ``chunks`` would give, until the end; raises what that, or ``sink``, raises.

        Where the transport can, ``sink`` runs as the bytes arrive: a task for each piece would cost more than
        the piece.
        """
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it: the upstream sees a cancel.

        Every response must be closed; closing again does nothing.
        """
        ...


class Transport(Protocol):
    """Pooled keep-alive connections to one base URL; no redirects, no cookies, no proxies of the environment.

    Every call raises only UpstreamError's kinds, and BadRequest for what cannot be put on the wire (a line
    break in a header, a path that leaves the base URL). A cancelled call drops its connection.
    """

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Response:
        """Send and wait for the head.

        ``path`` is the raw, percent-encoded one with its query; it begins with a slash and is joined to the
        base URL's own. ``OWN_HEADERS`` must not be among ``headers``. A stale pooled connection (closed by
        the peer before any byte of the answer) is replaced once, when the body is ``bytes``.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


async def pour(chunks: AsyncIterator[bytes], sink: Push) -> None:
    """``Response.pour`` for what gives its body by ``chunks``."""
    async for piece in chunks:
        wait = sink(piece)
        if wait is not None:
            await wait()


async def slices(body: bytes) -> AsyncIterator[bytes]:
    """``body`` in pieces that are each written in one go."""
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]
