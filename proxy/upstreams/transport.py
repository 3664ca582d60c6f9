"""What an HTTP transport to one upstream is; the implementations stand in ``TRANSPORTS`` of ``http.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence





@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase; ``read_s`` bounds the wait for the head and each wait for more body."""

    connect_s: float = 5.0
    write_s: float = 30.0
    read_s: float = 60.0


class Response(Protocol):
    """An upstream's answer whose head has come; its body is read once, by ``read`` or by ``chunks``."""

    @property
    def status(self) -> int:
        """The final status (1xx are skipped)."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """In the order received, names in lower case."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body; raises UpstreamTooLarge over ``limit`` bytes, UpstreamCut or UpstreamTimeout."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, framing taken off; raises UpstreamCut or UpstreamTimeout."""
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it: the upstream sees a cancel."""
        ...


class Transport(Protocol):
    """Pooled keep-alive connections to one base URL, redirects never followed, the environment's proxies ignored.

    Every call raises only UpstreamError's kinds. A cancelled call drops its connection.
    """

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Response:
        """Send and wait for the head. ``path`` begins with a slash and is joined to the base URL's own path.

        A stale pooled connection (closed by the peer before any byte of the answer) is replaced once, when the
        body is ``bytes``. ``host``, ``content-length``, ``connection`` and ``transfer-encoding`` are the
        transport's own and must not be among ``headers``.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
